-- route, event
note_ending('a' .. ARGV[2], ARGV[3])
