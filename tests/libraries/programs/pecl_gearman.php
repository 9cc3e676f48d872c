<?php
// PHP's gearman extension (libgearman). Arguments: client HOST:PORT FUNCTION CALLS | worker HOST:PORT FUNCTION.
// A worker prints the number of each run and returns it; a client prints the result of each call.
[, $role, $address, $function] = $argv;
[$host, $port] = explode(':', $address);
if ($role === 'client') {
    $client = new GearmanClient();
    $client->addServer($host, (int) $port);
    $client->setTimeout(30000);
    for ($call = 0; $call < (int) $argv[4]; $call++) {
        $result = $client->doNormal($function, 'the same', 'the same key');
        if ($client->returnCode() !== GEARMAN_SUCCESS) {
            fwrite(STDERR, "call $call: {$client->error()}\n");
            exit(1);
        }
        echo "$result\n";
    }
} else {
    $runs = 0;
    $worker = new GearmanWorker();
    $worker->addServer($host, (int) $port);
    $worker->addFunction($function, function () use (&$runs) {
        $runs++;
        echo "$runs\n";
        return (string) $runs;
    });
    while ($worker->work()) {
    }
    fwrite(STDERR, "{$worker->error()}\n");
    exit(1);
}
