<?php

namespace App\Console\Commands;

use App\Jobs\Work;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\Queue;

class DemoDispatch extends Command
{
    protected $signature = 'demo:dispatch
        {n=1 : number of queue jobs}
        {--mode=ok : ok, or a way to fail: fail, exit, segv, memory, grow}
        {--ms=10 : milliseconds of computation per job}';

    protected $description = 'Put jobs on the redis queue';

    public function handle(): int
    {
        for ($i = 0; $i < (int) $this->argument('n'); $i++) {
            Work::dispatch($this->option('mode'), (int) $this->option('ms'));
        }
        $this->info('queued jobs: '.Queue::connection('redis')->size());

        return 0;
    }
}
