# Perl's Gearman::Client and Gearman::Worker. Arguments: client HOST:PORT FUNCTION CALLS | worker HOST:PORT FUNCTION.
# A worker prints the number of each run and returns it; a client prints the result of each call.
use strict;
use warnings;
use Gearman::Client;
use Gearman::Worker;

$| = 1;
my ($role, $address, $function, $calls) = @ARGV;
if ($role eq 'client') {
    my $client = Gearman::Client->new(job_servers => [$address]);
    for my $call (0 .. $calls - 1) {
        my $result = $client->do_task($function, 'the same', { uniq => 'the same key' });
        die "call $call has no result\n" unless $result;
        print "$$result\n";
    }
} else {
    my $runs = 0;
    my $worker = Gearman::Worker->new(job_servers => [$address]);
    $worker->register_function($function => sub { $runs++; print "$runs\n"; return $runs; });
    $worker->work while 1;
}
