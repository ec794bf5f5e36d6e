-- now
return {#due('imports_due', ARGV[2], 1), #due('passports_due', ARGV[2], 1),
  #due('orders_due', ARGV[2], 1)}
