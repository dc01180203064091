<?php

namespace App\Reverb;

/** One client: HTTP first, WebSocket frames (RFC 6455) after the upgrade. */
class Connection
{
    private const TEXT = 1;

    private const CLOSE = 8;

    private const PING = 9;

    private const PONG = 10;

    /** Of a request or message, in bytes. */
    private const MAX_LENGTH = 1 << 20;

    public bool $isWebSocket = false;

    /** @var array<string, true> */
    public array $channels = [];

    public string $id;

    private string $buffer = '';

    private int $seen;

    public function __construct(public $stream)
    {
        stream_set_blocking($stream, false);
        $this->id = random_int(1, 999999999).'.'.random_int(1, 999999999);
        $this->seen = time();
    }

    public function isOpen(int $silence): bool
    {
        if ($this->stream !== null && time() - $this->seen > $silence) {
            $this->close();
        }

        return $this->stream !== null;
    }

    public function close(): void
    {
        if ($this->stream !== null) {
            fclose($this->stream);
        }
        $this->stream = null;
        $this->isWebSocket = false;
    }

    public function read(): void
    {
        $bytes = @fread($this->stream, 65536);
        if ($bytes === '' || $bytes === false || strlen($this->buffer) > self::MAX_LENGTH) {
            $this->close();
        } else {
            $this->buffer .= $bytes;
            $this->seen = time();
        }
    }

    /** The request line, headers and body, once complete. */
    public function request(): ?array
    {
        [$head, $body] = explode("\r\n\r\n", $this->buffer, 2) + [1 => null];
        if ($this->stream === null || $body === null) {
            return null;
        }
        $lines = explode("\r\n", $head);
        $headers = [];
        foreach (array_slice($lines, 1) as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $headers[strtolower($name)] = trim($value);
        }
        if (strlen($body) < (int) ($headers['content-length'] ?? 0)) {
            return null;
        }
        $this->buffer = '';

        return [$lines[0], $headers, $body];
    }

    public function answer(string $status, string $json): void
    {
        $this->write("HTTP/1.1 $status\r\nContent-Type: application/json\r\nContent-Length: ".strlen($json)."\r\nConnection: close\r\n\r\n$json");
        $this->close();
    }

    public function upgrade(string $key): void
    {
        $accept = base64_encode(sha1($key.'258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
        $this->write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: $accept\r\n\r\n");
        $this->isWebSocket = true;
    }

    public function send(string $event, ?string $channel, mixed $data): void
    {
        $this->frame(self::TEXT, json_encode(array_filter(['event' => $event, 'channel' => $channel, 'data' => $data], fn ($part) => $part !== null)));
    }

    /** The next complete message of the client; ping and close frames are answered. */
    public function message(): ?array
    {
        while ($this->stream !== null && $frame = $this->next()) {
            [$kind, $payload] = $frame;
            if ($kind === self::TEXT) {
                return json_decode($payload, true) ?: [];
            }
            if ($kind === self::PING) {
                $this->frame(self::PONG, $payload);
            }
            if ($kind === self::CLOSE) {
                $this->frame(self::CLOSE, $payload);
                $this->close();
            }
        }

        return null;
    }

    private function next(): ?array
    {
        if (strlen($this->buffer) < 2) {
            return null;
        }
        [$first, $second] = array_values(unpack('C2', $this->buffer));
        $long = ['' => 0, 'n' => 2, 'J' => 8];
        $format = match ($second & 127) { 126 => 'n', 127 => 'J', default => '' };
        $start = 2 + $long[$format];
        if (strlen($this->buffer) < $start) {
            return null;
        }
        $length = $format === '' ? $second & 127 : unpack($format, $this->buffer, 2)[1];
        if (! ($second & 128) || $length > self::MAX_LENGTH) {
            $this->close(); // clients must mask frames

            return null;
        }
        if (strlen($this->buffer) < $start + 4 + $length) {
            return null;
        }
        $mask = str_pad('', $length, substr($this->buffer, $start, 4));
        $payload = substr($this->buffer, $start + 4, $length) ^ $mask;
        $this->buffer = substr($this->buffer, $start + 4 + $length);

        return [$first & 15, $payload];
    }

    private function frame(int $kind, string $payload): void
    {
        $length = strlen($payload);
        $size = match (true) {
            $length < 126 => chr($length),
            $length < 65536 => chr(126).pack('n', $length),
            default => chr(127).pack('J', $length),
        };
        $this->write(chr(0x80 | $kind).$size.$payload);
    }

    private function write(string $bytes): void
    {
        if ($this->stream !== null) {
            @fwrite($this->stream, $bytes);
        }
    }
}
