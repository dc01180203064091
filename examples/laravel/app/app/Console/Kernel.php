<?php

namespace App\Console;

use Illuminate\Foundation\Console\Kernel as FrameworkKernel;

class Kernel extends FrameworkKernel
{
    protected $commands = [Commands\DemoDispatch::class, Commands\ReverbStart::class];
}
