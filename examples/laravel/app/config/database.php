<?php

$server = ['host' => '127.0.0.1', 'port' => 6379, 'password' => null];

return [
    'default' => 'none',
    'connections' => [],
    'migrations' => 'migrations',
    'redis' => [
        'client' => 'phpredis',
        'options' => ['prefix' => 'demo_'],
        'default' => $server + ['database' => 0],
        'cache' => $server + ['database' => 1],
    ],
];
