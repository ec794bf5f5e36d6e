use std::{borrow::Cow, fmt};

use super::percent::percent_decode;
use crate::error::ConfigFault;

/// A path, as `/api/photos/{id}`: segments that are written out, and parameters in braces, each of
/// which stands for one whole segment that is not empty.
///
/// A request's path is decoded once, segment by segment, so that `%2F` separates nothing. A path with
/// an empty segment, a segment of dots, or an escape that is none matches no template.
///
/// ```
/// use key0_auth::domain::PathTemplate;
///
/// let template = PathTemplate::new("the photo's route", "/api/photos/{id}")?;
/// let matched = template.matches("/api/photos/caf%C3%A9").expect("one segment");
/// assert_eq!(matched.get("id"), Some("café"));
/// assert!(template.matches("/api/photos/").is_none());
/// assert!(template.matches("/api/photos/..").is_none());
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Parameter(Box<str>),
}

/// A method and a [`PathTemplate`], as `GET /api/photos/{id}`. `*` stands for every method, and who
/// may `GET` may ask for the head alone (RFC 9110, section 9.3.2).
///
/// ```
/// use key0_auth::domain::RouteTemplate;
///
/// let route = RouteTemplate::new("the photo's route", "GET /api/photos/{id}")?;
/// assert!(route.matches("HEAD", "/api/photos/photo-1").is_some());
/// assert!(route.matches("POST", "/api/photos/photo-1").is_none());
/// # Ok::<(), key0_auth::error::ConfigFault>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RouteTemplate {
    method: Box<str>,
    path: PathTemplate,
}

/// What stands in the place of a template's parameters, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathParameters<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl PathParameters<'_> {
    /// What stands in the place of this parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }
}

impl PathTemplate {
    /// Reads a template. `setting` is where it comes from and stands in the error.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::Invalid`] where it does not begin with `/`, has an empty segment or one of
    /// dots, names a parameter twice, or holds an escape, a query, a fragment or other braces.
    pub fn new(setting: &str, text: &str) -> Result<Self, ConfigFault> {
        Self::read(text).map_err(|reason| ConfigFault::invalid(setting, reason))
    }

    fn read(text: &str) -> Result<Self, String> {
        let path =
            text.strip_prefix('/').ok_or_else(|| format!("{text:?} does not begin with /"))?;
        let mut parts = Vec::new();
        for segment in path.split('/') {
            let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let part = match inner {
                Some(name) => Part::Parameter(name.into()),
                None => Part::Literal(segment.into()),
            };
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let legal = match &part {
                Part::Parameter(name) => {
                    !name.is_empty() && name.chars().all(is_name) && !parts.contains(&part)
                }
                Part::Literal(text) => is_segment(text) && !text.contains(is_reserved),
            };
            if !legal {
                return Err(format!("{text:?} is not a path such as /api/photos/{{id}}"));
            }
            parts.push(part);
        }
        Ok(Self(parts))
    }

    /// The parameters where there is no path.
    pub(crate) fn no_parameters() -> PathParameters<'static> {
        PathParameters(Vec::new())
    }

    /// The parameters of a path as it was sent, without its query, where it matches.
    pub fn matches<'a>(&'a self, path: &'a str) -> Option<PathParameters<'a>> {
        self.matches_segments(segments(path)?)
    }

    fn matches_segments<'a>(&'a self, segments: Vec<Cow<'a, str>>) -> Option<PathParameters<'a>> {
        if segments.len() != self.0.len() {
            return None;
        }
        let mut parameters = Vec::new();
        for (part, segment) in self.0.iter().zip(segments) {
            match part {
                Part::Literal(text) if **text == *segment => {}
                Part::Literal(_) => return None,
                Part::Parameter(name) => parameters.push((&**name, segment)),
            }
        }
        Some(PathParameters(parameters))
    }

    /// Whether a path that matches this leads to the route that is meant, by the pattern of the route
    /// that a router has found. Where the pattern writes out some of a segment and this has a parameter, the
    /// router has found a route of its own; where it is the other way round, only the text as it was
    /// sent is what both mean.
    pub(crate) fn is_routed_as(&self, pattern: &str, path: &str) -> bool {
        let mut sent = path.split('/').skip(1);
        let mut parts = self.0.iter();
        let mut pattern = pattern_segments(pattern).peekable();
        while let Some(segment) = pattern.next() {
            let is_last = pattern.peek().is_none();
            let (Some(part), Some(sent)) = (parts.next(), sent.next()) else { return false };
            let same = match part {
                Part::Parameter(_) => is_one_parameter(segment),
                Part::Literal(text) if segment.contains('{') => **text == *sent,
                Part::Literal(text) => {
                    percent_decode(segment).is_some_and(|segment| **text == *segment)
                }
            };
            if !same {
                return false;
            }
            // It takes the rest of the path, whatever that is.
            if is_last && segment.contains('{') && segment.contains(['*', ':']) {
                return true;
            }
        }
        parts.next().is_none()
    }

    /// The names of its parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Parameter(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }

    /// Its first segment, unless that is a parameter.
    pub(crate) fn first_literal(&self) -> Option<&str> {
        match self.0.first() {
            Some(Part::Literal(text)) => Some(text),
            _ => None,
        }
    }
}

impl RouteTemplate {
    /// Reads a method and a path with one or more spaces between them. `setting` is where it comes
    /// from and stands in the error.
    ///
    /// # Errors
    ///
    /// As [`PathTemplate::new`], and where there is no method in capital letters.
    pub fn new(setting: &str, text: &str) -> Result<Self, ConfigFault> {
        let fault = || {
            let reason =
                format!("{text:?} is not a method and a path such as GET /api/photos/{{id}}");
            ConfigFault::invalid(setting, reason)
        };
        let (method, path) = text.trim().split_once(' ').ok_or_else(fault)?;
        let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase());
        if !is_method && method != "*" {
            return Err(fault());
        }
        Ok(Self { method: method.into(), path: PathTemplate::new(setting, path.trim_start())? })
    }

    /// The parameters of a request's path as it was sent, where method and path match.
    pub fn matches<'a>(&'a self, method: &str, path: &'a str) -> Option<PathParameters<'a>> {
        if self.takes(method) { self.path.matches(path) } else { None }
    }

    /// The path.
    pub fn path(&self) -> &PathTemplate {
        &self.path
    }

    fn takes(&self, method: &str) -> bool {
        match &*self.method {
            "*" => true,
            "GET" => matches!(method, "GET" | "HEAD"),
            own => own == method,
        }
    }
}

/// The segments of a path, each decoded once. None where one is empty, is made of dots, or can't be
/// decoded to a text.
pub(crate) fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let decoded = |segment| percent_decode(segment).filter(|text| is_segment(text));
    path.strip_prefix('/')?.split('/').map(decoded).collect()
}

/// The segments of a router's pattern. A slash within braces is part of an expression.
fn pattern_segments(pattern: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let is_between = move |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == '/' && depth == 0
    };
    pattern.split(is_between).skip(1)
}

/// Whether a router's segment is a parameter with no text beside it. actix writes a star after one
/// that takes the rest of a path.
fn is_one_parameter(segment: &str) -> bool {
    let mut depth = 0_usize;
    let end = segment.find(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    segment.starts_with('{') && end.is_some_and(|end| matches!(&segment[end + 1..], "" | "*"))
}

fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(char::is_control)
}

/// What a literal segment can't hold.
fn is_reserved(c: char) -> bool {
    matches!(c, '{' | '}' | '%' | '?' | '#' | '\\' | '*' | ' ')
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => write!(f, "/{text}"),
            Part::Parameter(name) => write!(f, "/{{{name}}}"),
        })
    }
}

impl fmt::Debug for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for RouteTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl fmt::Debug for RouteTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> PathTemplate {
        PathTemplate::new("a test", text).expect("legal")
    }

    #[test]
    fn templates() {
        for good in ["/api/photos/{id}", "/a", "/{a}/{b}", "/café/x.json", "/a/b-c_d~e"] {
            assert_eq!(template(good).to_string(), good);
        }
        for bad in [
            "", "api", "/", "//", "/a/", "/a//b", "/a/./b", "/..", "/{}", "/{a}/{a}", "/{a}b",
            "/a%20b", "/a?b", "/a#b", "/{*rest}", "/*", "/{a b}", "/a b",
        ] {
            assert!(PathTemplate::new("a test", bad).is_err(), "{bad:?}");
        }
        for bad in ["/a", "GET", "get /a", "GET a", "", "GET  ", "GET,POST /a"] {
            assert!(RouteTemplate::new("a test", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_decoded_once_segment_by_segment() {
        let photo = template("/api/photos/{id}");
        for (path, id) in [
            ("/api/photos/photo-1", Some("photo-1")),
            ("/api/%70hotos/photo-1", Some("photo-1")),
            ("/api/photos/caf%c3%A9", Some("café")),
            ("/api/photos/a%2Fb", Some("a/b")),
            ("/api/photos/a%252Fb", Some("a%2Fb")),
            ("/api/photos/...", Some("...")),
            ("/api/photos/", None),
            ("/api/photos", None),
            ("/api/photos/photo-1/", None),
            ("/api//photos/photo-1", None),
            ("//api/photos/photo-1", None),
            ("api/photos/photo-1", None),
            ("/api/photos/.", None),
            ("/api/photos/..", None),
            ("/api/photos/%2e%2E", None),
            ("/api/photos/../photos/photo-1", None),
            ("/api/./photos/photo-1", None),
            ("/api/photos/%", None),
            ("/api/photos/%4", None),
            ("/api/photos/%zz", None),
            ("/api/photos/%+1", None),
            ("/api/photos/%ff", None),
            ("/api/photos/a%00", None),
            ("/api%2Fphotos/photo-1", None),
            ("/API/photos/photo-1", None),
            ("/api/data/photo-1", None),
            ("", None),
            ("*", None),
        ] {
            let matched = photo.matches(path);
            assert_eq!(matched.as_ref().and_then(|found| found.get("id")), id, "{path:?}");
        }
    }

    #[test]
    fn a_route_is_the_one_that_is_meant() {
        let photo = template("/api/photos/{id}");
        for (pattern, path, same) in [
            ("/api/photos/{id}", "/api/photos/1", true),
            ("/api/photos/{photo}", "/api/photos/a%2Fb", true),
            ("/api/photos/{id:[^/]+}", "/api/photos/1", true),
            (r"/api/photos/{id:\d{1,3}}", "/api/photos/1", true),
            ("/api/photos/{*rest}", "/api/photos/1", true),
            ("/api/{*rest}", "/api/photos/1", true),
            ("/{all}*", "/api/photos/1", true),
            ("/{all:.*}", "/api/photos/1", true),
            ("/{section}/photos/{id}", "/api/photos/1", true),
            // The router knows another route for what was sent.
            ("/api/photos/stats", "/api/photos/stats", false),
            ("/api/photos/{id}.jpg", "/api/photos/1.jpg", false),
            ("/api/photos/stats-{day}", "/api/photos/stats-1", false),
            ("/api/photos/{id}{size}", "/api/photos/12", false),
            ("/{section}/photos/{id}", "/%61pi/photos/1", false),
            ("/{all}*", "/%61pi/photos/1", false),
            ("/api/%70hotos/{id}", "/api/%70hotos/1", true),
            ("/api/data/{id}", "/api/photos/1", false),
            ("/api/photos", "/api/photos/1", false),
            ("/api/photos/{id}/", "/api/photos/1", false),
            ("/api/photos/{id}/{size}", "/api/photos/1", false),
            ("", "/api/photos/1", false),
        ] {
            assert_eq!(photo.is_routed_as(pattern, path), same, "{pattern} {path}");
        }
        assert!(template("/api/photos/one").is_routed_as("/api/photos/{id}", "/api/photos/one"));
        assert!(!template("/api/photos/one").is_routed_as("/api/photos/{id}", "/api/photos/%6Fne"));
    }

    #[test]
    fn methods() {
        let takes = |template: &str, method: &str| {
            let template = RouteTemplate::new("a test", template).expect("legal");
            template.matches(method, "/a").is_some()
        };
        assert!(takes("GET /a", "GET") && takes("GET /a", "HEAD"));
        assert!(!takes("GET /a", "POST") && !takes("GET /a", "get"));
        assert!(takes("POST /a", "POST") && !takes("POST /a", "GET"));
        assert!(!takes("HEAD /a", "GET"));
        assert!(takes("* /a", "DELETE") && takes("*   /a", "OPTIONS"));
    }
}
