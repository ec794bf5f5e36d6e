-- what add_key takes
if taken(2) then return conflict() end
add_key(2)
return 1
