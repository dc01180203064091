<?php

namespace App\Reverb;

/** The core of the Pusher protocol over WebSockets: subscriptions, client events, and POST /apps/ID/events. */
class Server
{
    /** In seconds; a client without activity for twice as long is disconnected. */
    private const ACTIVITY_TIMEOUT = 30;

    private $listener;

    /** @var array<int, Connection> */
    private array $connections = [];

    private bool $stopped = false;

    public function __construct(private string $key)
    {
    }

    public function listen(string $address, ?string &$why): bool
    {
        $this->listener = @stream_socket_server("tcp://$address", $code, $why);

        return $this->listener !== false && stream_set_blocking($this->listener, false);
    }

    public function stop(): void
    {
        $this->stopped = true;
    }

    public function run(): void
    {
        while (! $this->stopped) {
            $ready = array_map(fn (Connection $connection) => $connection->stream, $this->connections);
            $ready[] = $this->listener;
            $none = null;
            if (@stream_select($ready, $none, $none, 1) === false) {
                continue; // a signal
            }
            foreach ($ready as $stream) {
                $stream === $this->listener ? $this->accept() : $this->serve($this->connections[(int) $stream]);
            }
            $this->connections = array_filter($this->connections, fn (Connection $connection) => $connection->isOpen(2 * self::ACTIVITY_TIMEOUT));
        }
    }

    private function accept(): void
    {
        if ($stream = @stream_socket_accept($this->listener, 0)) {
            $this->connections[(int) $stream] = new Connection($stream);
        }
    }

    private function serve(Connection $connection): void
    {
        $connection->read();
        if (! $connection->isWebSocket) {
            $this->request($connection);
        }
        while ($connection->isWebSocket && ($message = $connection->message()) !== null) {
            $this->message($connection, $message);
        }
    }

    private function request(Connection $connection): void
    {
        $request = $connection->request();
        if ($request === null) {
            return; // incomplete
        }
        [$line, $headers, $body] = $request;
        if (isset($headers['sec-websocket-key']) && preg_match('#^GET /app/([^ ?]+)#', $line, $found)) {
            $connection->upgrade($headers['sec-websocket-key']);
            if ($found[1] === $this->key) {
                $connection->send('pusher:connection_established', null, json_encode(['socket_id' => $connection->id, 'activity_timeout' => self::ACTIVITY_TIMEOUT]));
            } else {
                $connection->send('pusher:error', null, json_encode(['code' => 4001, 'message' => 'Application does not exist']));
                $connection->close();
            }
        } elseif (preg_match('#^POST /apps/[^/]+/events#', $line)) {
            $event = json_decode($body, true) ?: [];
            foreach ((array) ($event['channels'] ?? $event['channel'] ?? []) as $channel) {
                $this->publish($channel, $event['name'] ?? '', $event['data'] ?? '');
            }
            $connection->answer('200 OK', '{}');
        } elseif (preg_match('#^GET /up#', $line)) {
            $connection->answer('200 OK', '{"health":"OK"}');
        } else {
            $connection->answer('404 Not Found', '{}');
        }
    }

    private function message(Connection $from, array $message): void
    {
        $event = $message['event'] ?? '';
        $channel = $message['data']['channel'] ?? '';
        if ($event === 'pusher:ping') {
            $from->send('pusher:pong', null, '{}');
        } elseif ($event === 'pusher:subscribe') {
            $from->channels[$channel] = true;
            $from->send('pusher_internal:subscription_succeeded', $channel, '{}');
        } elseif ($event === 'pusher:unsubscribe') {
            unset($from->channels[$channel]);
        } elseif (str_starts_with($event, 'client-')) {
            $this->publish($message['channel'] ?? '', $event, $message['data'] ?? '', $from);
        }
    }

    private function publish(string $channel, string $event, mixed $data, ?Connection $except = null): void
    {
        foreach ($this->connections as $connection) {
            if ($connection !== $except && isset($connection->channels[$channel])) {
                $connection->send($event, $channel, $data);
            }
        }
    }
}
