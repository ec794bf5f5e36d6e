//! The index of the log, as SQLite keeps it: `-shm`. Its form is the one of
//! <https://sqlite.org/walformat.html>.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

/// The only version of the form that there is.
const VERSION: u32 = 3_007_000;
/// One of the two copies of the header.
const HEADER: usize = 48;
/// The header of the log, and that of each frame in it.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// What is open stays open: to close it would free all locks that this process holds on it (POSIX), also
/// those of other connections.
static OPEN: LazyLock<Mutex<OpenFiles>> = LazyLock::new(Mutex::default);

/// By device and inode.
type OpenFiles = HashMap<(u64, u64), Arc<File>>;

pub(super) struct Index(Arc<File>);

/// What the index says of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// How often it was changed since the index was made anew.
    pub(super) changes: u32,
    page_size: u64,
    /// How many frames of the log count.
    frames: u64,
    pub(super) progress: Progress,
}

/// How far the log has been moved into the database. Nothing else changes that file, and each time this
/// changes, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Which log it is: others when the log begins anew.
    salts: [u8; 8],
    moved: u32,
    /// How far whoever moves it means to come.
    meant: u32,
}

impl Progress {
    /// Whether nobody moves the log at the moment, or broke off when that was half done.
    pub(super) fn is_settled(self) -> bool {
        self.moved == self.meant
    }
}

impl Index {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let found = path.metadata()?;
        if let Some(file) = open.get(&(found.dev(), found.ino())) {
            return Ok(Self(Arc::clone(file)));
        }
        // Nobody finds those again that were deleted.
        open.retain(|_, file| file.metadata().is_ok_and(|file| file.nlink() > 0));
        let file = Arc::new(File::open(path)?);
        let opened = file.metadata()?;
        open.insert((opened.dev(), opened.ino()), Arc::clone(&file));
        Ok(Self(file))
    }

    /// `None` while it is being written.
    pub(super) fn read(&self) -> Option<Seen> {
        let mut bytes = [0; 2 * HEADER + 36];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        let (header, rest) = bytes.split_at(HEADER);
        let (copy, info) = rest.split_at(HEADER);
        if header != copy || number(header, 0)? != VERSION {
            return None;
        }
        let page_size = u64::from(u16::from_ne_bytes(header.get(14..16)?.try_into().ok()?));
        Some(Seen {
            changes: number(header, 8)?,
            // 64 KiB are told as 1.
            page_size: if page_size == 1 { 64 * 1024 } else { page_size },
            frames: number(header, 16)?.into(),
            progress: Progress {
                salts: header.get(32..40)?.try_into().ok()?,
                moved: number(info, 0)?,
                meant: number(info, 32)?,
            },
        })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl Seen {
    /// Whether the log has all that the index knows of, as far as it can be read.
    pub(super) fn is_held_by(&self, log: &Path) -> bool {
        if self.frames == 0 {
            return true;
        }
        let Ok(mut file) = File::open(log) else { return true };
        let mut header = [0; LOG_HEADER as usize];
        let length = file.metadata().map_or(u64::MAX, |file| file.len());
        if length < LOG_HEADER + self.frames * (FRAME_HEADER + self.page_size) {
            return false;
        }
        match file.read_exact(&mut header) {
            Ok(()) => header.get(16..24) == Some(&self.progress.salts[..]),
            // Any other failure says nothing about the log.
            Err(e) => e.kind() != io::ErrorKind::UnexpectedEof,
        }
    }
}
