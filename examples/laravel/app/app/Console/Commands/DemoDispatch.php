<?php

namespace App\Console\Commands;

use App\Jobs\Work;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\Queue;

class DemoDispatch extends Command
{
    protected $signature = 'demo:dispatch
        {n=1 : how many jobs}
        {--mode=ok : ok, or how they go wrong: fail, exit, segv, memory}
        {--ms=10 : how long each computes}';

    protected $description = 'Put jobs on the redis queue';

    public function handle(): int
    {
        for ($i = 0; $i < (int) $this->argument('n'); $i++) {
            Work::dispatch($this->option('mode'), (int) $this->option('ms'));
        }
        $this->info('jobs that wait: '.Queue::connection('redis')->size());

        return 0;
    }
}
