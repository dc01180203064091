<?php

// Syslog keeps the priority of each message in the journal: an exception is logged as err.
return [
    'default' => 'syslog',
    'channels' => ['syslog' => ['driver' => 'syslog', 'facility' => LOG_USER]],
];
