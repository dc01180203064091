<?php

// By syslog, so that the journal has the priority of each message: an exception is an error there, too.
return [
    'default' => 'syslog',
    'channels' => ['syslog' => ['driver' => 'syslog', 'facility' => LOG_USER]],
];
