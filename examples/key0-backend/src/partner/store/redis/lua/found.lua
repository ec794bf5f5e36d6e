-- The version of what the partner API keeps here; 0 where nothing is there.
return redis.call('GET', prefix .. 'version') or 0
