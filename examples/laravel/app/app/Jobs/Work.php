<?php

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Queue\InteractsWithQueue;

/** Computes for a while, then succeeds or fails in one of the ways that queue jobs do. */
class Work implements ShouldQueue
{
    use Dispatchable, InteractsWithQueue, Queueable;

    private static string $kept = '';

    public function __construct(public string $mode, public int $ms)
    {
    }

    public function handle(): void
    {
        $end = microtime(true) + $this->ms / 1000;
        while (microtime(true) < $end) {
            md5((string) $end);
        }
        match ($this->mode) {
            'ok' => null,
            'fail' => throw new \RuntimeException('the job failed on purpose'),
            'exit' => exit(3),
            'segv' => posix_kill(getmypid(), SIGSEGV),
            'memory' => $this->convert(),
            'grow' => self::$kept = str_repeat('x', 150 << 20), // more than --memory
        };
    }

    /** Starts a program that exceeds the unit's memory limit, such as an image converter. */
    private function convert(): void
    {
        exec(PHP_BINARY." -r '\$image = str_repeat(\"x\", 512 << 20);'", $output, $status);
        if ($status !== 0) {
            throw new \RuntimeException("the converter exited with status $status");
        }
    }
}
