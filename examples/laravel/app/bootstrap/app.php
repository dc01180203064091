<?php

// The application writes only below APP_STATE, so that its own directory can be read-only.
$state = getenv('APP_STATE') ?: '/tmp';
putenv("APP_SERVICES_CACHE=$state/services.php");
putenv("APP_PACKAGES_CACHE=$state/packages.php");

$app = new Illuminate\Foundation\Application(dirname(__DIR__));
$app->useStoragePath($state);
if (method_exists($app, 'dontMergeFrameworkConfiguration')) {
    $app->dontMergeFrameworkConfiguration(); // Laravel 11 and later: Debian ships no default configuration
}
$app->singleton(Illuminate\Contracts\Console\Kernel::class, App\Console\Kernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, App\Exceptions\Handler::class);

return $app;
