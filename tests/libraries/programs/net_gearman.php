<?php
// PHP's Net_Gearman, whose source is in the directory NET_GEARMAN. The library makes the key from function and argument.
// Arguments: client HOST:PORT FUNCTION CALLS | worker HOST:PORT FUNCTION.
// A worker prints the number of each run and returns it; a client prints the result of each call.
spl_autoload_register(function (string $class) {
    require_once getenv('NET_GEARMAN') . '/' . strtr($class, '_', '/') . '.php';
});

class CountedRun extends Net_Gearman_Job_Common
{
    private static int $runs = 0;

    public function run($argument)
    {
        self::$runs++;
        echo self::$runs . "\n";
        return ['run' => self::$runs];
    }
}

[, $role, $address, $function] = $argv;
if ($role === 'client') {
    $client = new Net_Gearman_Client([$address]);
    for ($call = 0; $call < (int) $argv[4]; $call++) {
        $task = new Net_Gearman_Task($function, 'the same');
        $set = new Net_Gearman_Set([$task]);
        $client->runSet($set, 30);
        if (!$set->finished() || !isset($task->result['run'])) {
            fwrite(STDERR, "call $call has no result\n");
            exit(1);
        }
        echo "{$task->result['run']}\n";
    }
} else {
    $worker = new Net_Gearman_Worker([$address]);
    $worker->addAbility($function, null, ['path' => __FILE__, 'class_name' => 'CountedRun']);
    $worker->beginWork(fn () => false);
}
