-- digest, until
deny(ARGV[2], ARGV[3])
