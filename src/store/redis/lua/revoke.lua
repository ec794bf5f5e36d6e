-- id, now, event, reason or nothing
return revoke_key(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
