-- route, event
note_ending('r' .. ARGV[2], ARGV[3])
