# Ruby's gearman-ruby, whose source is in the directory GEARMAN_RUBY. The library makes the key from function and argument.
# Arguments: client HOST:PORT FUNCTION CALLS | worker HOST:PORT FUNCTION.
# A worker prints the number of each run and returns it; a client prints the result of each call.
require 'logger'
$LOAD_PATH.unshift(File.join(ENV['GEARMAN_RUBY'], 'lib')) if ENV['GEARMAN_RUBY']
require 'gearman'

Gearman.logger = Logger.new(nil)
$stdout.sync = true
role, address, function, calls = ARGV
if role == 'client'
  client = Gearman::Client.new([address])
  calls.to_i.times do |call|
    result = client.do_task(Gearman::Task.new(function, 'the same'), 30)
    abort "call #{call} has no result" unless result
    puts result
  end
else
  runs = 0
  worker = Gearman::Worker.new([address])
  worker.add_ability(function) do
    runs += 1
    puts runs
    runs.to_s
  end
  loop { worker.work }
end
