-- what add_key takes
if taken(ARGV[2], ARGV[3]) then return conflict() end
add_key(2)
return 1
