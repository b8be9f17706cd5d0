using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Vmm.Tool;

/// <summary>How an HTTP request becomes a WebSocket (RFC 6455 § 4).</summary>
internal static class WebSocketHandshake
{
    /// <summary>What a client sends: any 16 bytes. It is no secret.</summary>
    internal const string ClientKey = "dm1tIGN0bCBjb25zb2xlIQ==";

    internal const string Version = "13";

    private const string Salt = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    private const int KeyBytes = 16;

    /// <summary>Takes a request for a WebSocket.</summary>
    /// <exception cref="ApiProblem">It is none, or there are too many.</exception>
    internal static async Task<Stream> AcceptAsync(HttpContext context)
    {
        IHeaderDictionary asked = context.Request.Headers, answer = context.Response.Headers;
        if (context.Features.Get<IHttpUpgradeFeature>() is not { IsUpgradableRequest: true } upgrade
            || !string.Equals(asked.Upgrade, "websocket", StringComparison.OrdinalIgnoreCase))
        {
            answer.Upgrade = "websocket";
            throw new ApiProblem(StatusCodes.Status426UpgradeRequired,
                "a console is a WebSocket: connect by one, or use 'vmm ctl SOCKET console'");
        }
        if (asked.SecWebSocketVersion != Version)
        {
            answer.SecWebSocketVersion = Version;
            throw new ApiProblem(StatusCodes.Status426UpgradeRequired, "the WebSocket has another version: it must be 13");
        }
        string key = asked.SecWebSocketKey.ToString();
        Span<byte> decoded = stackalloc byte[KeyBytes + 2];
        if (!Convert.TryFromBase64String(key, decoded, out int length) || length != KeyBytes)
            throw new ApiProblem(StatusCodes.Status400BadRequest, "the header Sec-WebSocket-Key is missing, or no base64 of 16 bytes");
        answer.Upgrade = "websocket";
        answer.Connection = "Upgrade";
        answer.SecWebSocketAccept = AcceptOf(key);
        try
        {
            return await upgrade.UpgradeAsync();
        }
        catch (InvalidOperationException)
        {
            answer.Clear();
            throw new ApiProblem(StatusCodes.Status503ServiceUnavailable,
                $"{ApiServer.ConsolesMax} consoles are attached already: detach one first");
        }
    }

    /// <summary>What a server answers to a key.</summary>
    internal static string AcceptOf(string key) => Convert.ToBase64String(Sha1(Encoding.ASCII.GetBytes(key + Salt)));

    /// <summary>
    /// SHA-1 (FIPS 180-4), which protects nothing here. Not .NET's: that needs OpenSSL, which a process in its sandbox cannot load.
    /// </summary>
    internal static byte[] Sha1(ReadOnlySpan<byte> message)
    {
        const int Block = 64, LengthBytes = 8;
        byte[] padded = new byte[(message.Length + 1 + LengthBytes + Block - 1) / Block * Block];
        message.CopyTo(padded);
        padded[message.Length] = 0x80;
        BinaryPrimitives.WriteUInt64BigEndian(padded.AsSpan(padded.Length - LengthBytes), (ulong)message.Length * 8);
        Span<uint> state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
        Span<uint> words = stackalloc uint[80];
        for (int at = 0; at < padded.Length; at += Block)
        {
            for (int i = 0; i < 16; i++) words[i] = BinaryPrimitives.ReadUInt32BigEndian(padded.AsSpan(at + (i * 4)));
            for (int i = 16; i < 80; i++)
                words[i] = BitOperations.RotateLeft(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
            (uint a, uint b, uint c, uint d, uint e) = (state[0], state[1], state[2], state[3], state[4]);
            for (int i = 0; i < 80; i++)
            {
                (uint mixed, uint constant) = (i / 20) switch
                {
                    0 => ((b & c) | (~b & d), 0x5a827999u),
                    1 => (b ^ c ^ d, 0x6ed9eba1u),
                    2 => ((b & c) | (b & d) | (c & d), 0x8f1bbcdcu),
                    _ => (b ^ c ^ d, 0xca62c1d6u),
                };
                uint next = BitOperations.RotateLeft(a, 5) + mixed + e + constant + words[i];
                (e, d, c, b, a) = (d, c, BitOperations.RotateLeft(b, 30), a, next);
            }
            state[0] += a;
            state[1] += b;
            state[2] += c;
            state[3] += d;
            state[4] += e;
        }
        byte[] hash = new byte[20];
        for (int i = 0; i < state.Length; i++) BinaryPrimitives.WriteUInt32BigEndian(hash.AsSpan(i * 4), state[i]);
        return hash;
    }
}
