-- now
return due('imports_due', ARGV[2], 1)[1] or false
