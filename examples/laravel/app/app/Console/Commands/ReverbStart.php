<?php

namespace App\Console\Commands;

use App\Reverb\Server;
use Illuminate\Console\Command;

/** A substitute for laravel/reverb, which Debian does not package, with the same command line and port. */
class ReverbStart extends Command
{
    protected $signature = 'reverb:start {--host=0.0.0.0} {--port=6001} {--key=app-key}';

    protected $description = 'Start the WebSocket server';

    public function handle(): int
    {
        $address = $this->option('host').':'.$this->option('port');
        $server = new Server($this->option('key'));
        if (! $server->listen($address, $why)) {
            $this->error("$address: $why");

            return 1;
        }
        pcntl_async_signals(true);
        foreach ([SIGTERM, SIGINT] as $signal) {
            pcntl_signal($signal, fn () => $server->stop());
        }
        $this->info("Starting server on $address.");
        $server->run();
        $this->info('Gracefully terminating connections.');

        return 0;
    }
}
