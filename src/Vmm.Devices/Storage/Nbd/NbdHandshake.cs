using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Numerics;
using System.Security.Authentication;
using System.Text;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// The first part of a connection (NBD protocol, "Fixed newstyle negotiation"), up to its export. It blocks, on a thread of the pool, for
/// <see cref="Patience"/> at most: what follows is the reactor's.
/// </summary>
internal sealed class NbdHandshake
{
    /// <summary>Longest time for what follows the connection: TLS, options.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>Most replies to one option: servers send some four.</summary>
    private const int RepliesMax = 64;

    /// <summary>Longest reply to an option: strings, and some numbers.</summary>
    private const int ReplyBytesMax = NbdProtocol.StringMax + 64;

    private const string CertificateHint =
        "put client-cert.pem and client-key.pem, signed by an authority that it trusts, into the folder of ?tls-certificates=";

    /// <summary>Largest sector that a driver can be shown.</summary>
    private const uint BlockMinMax = 64 * 1024;

    private readonly NbdAddress _address;
    private NbdStream _stream;

    /// <summary>The server asked for a certificate of ours, and there is none.</summary>
    private bool _lacksCertificate;

    private NbdHandshake(NbdAddress address, NbdStream stream)
    {
        _address = address;
        _stream = stream;
    }

    /// <summary>Connects to a server, and asks for its export.</summary>
    /// <param name="address">What to connect to.</param>
    /// <param name="reach">Longest wait for each address of the server.</param>
    /// <exception cref="DiskImageException">It can't be had; the message says what is the matter.</exception>
    internal static NbdConnection Connect(NbdAddress address, TimeSpan reach) => Agree(address, Reach(address, reach));

    /// <summary>The part after the connection.</summary>
    /// <param name="address">What to ask for.</param>
    /// <param name="socket">The connection; taken over.</param>
    /// <exception cref="DiskImageException">The server does not give the export; the message says why.</exception>
    internal static NbdConnection Agree(NbdAddress address, OwnedFd socket)
    {
        NbdStream stream = new(socket, Patience);
        NbdHandshake handshake = new(address, stream);
        try
        {
            return handshake.Run();
        }
        catch (IOException ended) when (handshake._lacksCertificate && ended is not DiskImageException)
        {
            throw Refused(address, $"the server asks for a certificate of its clients, and {ended.Message} without one: {CertificateHint}");
        }
        catch (NbdProtocolException broken)
        {
            throw Refused(address, $"the server {broken.Message}: it is not an NBD server, or a broken one");
        }
        catch (AuthenticationException refused)
        {
            string why = refused.InnerException?.Message ?? refused.Message;
            string hint = handshake._lacksCertificate ? $"; the server asks for one of ours, too: {CertificateHint}" : "";
            throw Refused(address, $"TLS was refused: {why}: look at the certificates on both sides (tls-certificates=, "
                + $"tls-hostname=){hint}");
        }
        catch (DiskImageException)
        {
            throw;
        }
        catch (IOException failure)
        {
            throw Refused(address, failure.Message);
        }
        finally
        {
            // What the connection keeps was taken out of it.
            handshake._stream.Dispose();
        }
    }

    internal static DiskImageException Refused(NbdAddress address, string why, Errno error = Errno.None)
    {
        DiskImageException refused = new($"disk '{address.Text}': {why}");
        if (error != Errno.None) refused.HResult = (int)error;
        return refused;
    }

    private static OwnedFd Reach(NbdAddress address, TimeSpan reach)
    {
        IEnumerable<EndPoint> ends;
        try
        {
            ends = address.Socket is { } path
                ? [new UnixDomainSocketEndPoint(path)]
                : Dns.GetHostAddresses(address.Host).Select(each => new IPEndPoint(each, address.Port));
        }
        catch (SocketException unknown)
        {
            throw Refused(address, $"'{address.Host}' cannot be found: {unknown.Message}: correct the name, or give an address");
        }
        catch (ArgumentException wrong)
        {
            throw Refused(address, $"'{address.Socket}' cannot be a socket: {wrong.Message}");
        }
        Errno error = Errno.NoEntry;
        foreach (EndPoint end in ends)
        {
            error = StreamSocket.Connect(end, reach, out OwnedFd? socket);
            if (error == Errno.None) return socket!;
        }
        string where = address.Socket is { } at ? $"socket '{at}'" : $"{address.Host}:{address.Port}";
        string hint = error is Errno.ConnectionRefused or Errno.NoEntry ? ": start the server, or correct the address" : "";
        throw Refused(address, $"no server answers at {where}: {KernelException.Describe(error)}{hint}", error);
    }

    private NbdConnection Run()
    {
        Span<byte> greeting = stackalloc byte[18];
        _stream.Read(greeting);
        if (BinaryPrimitives.ReadUInt64BigEndian(greeting) != NbdProtocol.InitMagic)
            throw new NbdProtocolException("does not greet as one");
        if (BinaryPrimitives.ReadUInt64BigEndian(greeting[8..]) != NbdProtocol.OptionMagic)
            throw Refused(_address, "the server speaks the protocol of before 2011, which knows no exports: use a newer one");
        ushort flags = BinaryPrimitives.ReadUInt16BigEndian(greeting[16..]);
        if ((flags & NbdProtocol.FixedNewstyle) == 0)
            throw Refused(_address, "the server does not know the fixed negotiation of 2013: use a newer one");
        Span<byte> ours = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(ours, NbdProtocol.FixedNewstyle | (uint)(flags & NbdProtocol.NoZeroes));
        _stream.Write(ours);
        if (_address.Tls is { } tls) StartTls(tls);
        NbdReplies replies = Ask(NbdProtocol.OptionExtendedHeaders, []) ? NbdReplies.Extended
            : Ask(NbdProtocol.OptionStructuredReply, []) ? NbdReplies.Structured : NbdReplies.Simple;
        NbdExport export = Go(replies);
        return new NbdConnection(_stream.Take(), export);
    }

    private void StartTls(NbdTls tls)
    {
        if (!Ask(NbdProtocol.OptionStartTls, []))
            throw Refused(_address, "the server has no TLS: configure its certificate, or write nbd:// where the network is trusted");
        SslClientAuthenticationOptions options = tls.Options();
        if (options.ClientCertificateContext is null)
        {
            // Asked once before the server has said anything, and again if it wants a certificate.
            options.LocalCertificateSelectionCallback = (_, _, _, server, _) =>
            {
                _lacksCertificate |= server is not null;
                return null!;
            };
        }
        _stream = _stream.Secure(options);
    }

    /// <summary>Asks for something that a server may not know.</summary>
    /// <returns>Whether it agreed.</returns>
    private bool Ask(uint option, ReadOnlySpan<byte> data)
    {
        Send(option, data);
        (uint reply, byte[] text) = Receive(option);
        if (reply == NbdProtocol.ErrorTlsRequired)
            throw Refused(_address, "the server asks for TLS: write nbds:// (or nbds+unix://)");
        if (reply == NbdProtocol.ErrorShutdown) throw Refused(_address, "the server is shutting down");
        if (reply == NbdProtocol.ReplyAck)
            return text.Length == 0 ? true : throw new NbdProtocolException("adds data to an acknowledgement");
        return (reply & NbdProtocol.ReplyErrorBit) != 0 ? false : throw new NbdProtocolException($"answers option {option} by reply "
            + $"{reply}");
    }

    private NbdExport Go(NbdReplies replies)
    {
        byte[] name = Encoding.UTF8.GetBytes(_address.Export);
        byte[] data = new byte[4 + name.Length + 4];
        BinaryPrimitives.WriteUInt32BigEndian(data, (uint)name.Length);
        name.CopyTo(data, 4);
        BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(4 + name.Length), 1);
        BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(6 + name.Length), NbdProtocol.InfoBlockSize);
        Send(NbdProtocol.OptionGo, data);
        NbdExport? export = null;
        (uint Min, uint Preferred, uint Max) blocks = (1, 4096, NbdProtocol.PayloadStandard);
        for (int i = 0; i < RepliesMax; i++)
        {
            (uint reply, byte[] text) = Receive(NbdProtocol.OptionGo);
            if (reply == NbdProtocol.ReplyAck)
            {
                return export is null
                    ? throw new NbdProtocolException("grants an export and does not describe it")
                    : Checked(export with { Replies = replies }, blocks);
            }
            if ((reply & NbdProtocol.ReplyErrorBit) != 0) throw RefusedExport(reply, text);
            if (reply != NbdProtocol.ReplyInfo || text.Length < 2)
                throw new NbdProtocolException($"answers a request for an export by reply {reply}");
            switch (BinaryPrimitives.ReadUInt16BigEndian(text))
            {
                case NbdProtocol.InfoExport:
                    if (text.Length != 12) throw new NbdProtocolException($"describes an export in {text.Length} bytes");
                    export = new NbdExport(BinaryPrimitives.ReadUInt64BigEndian(text.AsSpan(2)),
                        (NbdFlags)BinaryPrimitives.ReadUInt16BigEndian(text.AsSpan(10)), replies, 1, 1, 0);
                    break;
                case NbdProtocol.InfoBlockSize:
                    if (text.Length != 14) throw new NbdProtocolException($"describes block sizes in {text.Length} bytes");
                    blocks = (BinaryPrimitives.ReadUInt32BigEndian(text.AsSpan(2)), BinaryPrimitives.ReadUInt32BigEndian(text.AsSpan(6)),
                        BinaryPrimitives.ReadUInt32BigEndian(text.AsSpan(10)));
                    break;
            }
        }
        throw new NbdProtocolException($"answers one option by more than {RepliesMax} replies");
    }

    /// <summary>The export, if it can be a disk.</summary>
    private NbdExport Checked(NbdExport export, (uint Min, uint Preferred, uint Max) blocks)
    {
        (uint min, uint preferred, uint max) = blocks;
        if (min == 0 || !BitOperations.IsPow2(min) || min > BlockMinMax)
            throw Refused(_address, $"the export has blocks of {min} bytes: a disk has blocks of a power of two up to {BlockMinMax}");
        if (max < Math.Max(min, BlockProtocol.SectorSize))
            throw Refused(_address, $"the export takes at most {max} bytes at once: that is less than a block");
        if (export.Bytes > long.MaxValue)
            throw Refused(_address, $"the export says it has {export.Bytes} bytes: no server has a disk that large");
        ulong block = Math.Max(min, BlockProtocol.SectorSize);
        ulong whole = export.Bytes / block * block;
        if (whole == 0) throw Refused(_address, $"the export has {export.Bytes} bytes: less than a block of {block}");
        preferred = BitOperations.RoundUpToPowerOf2(Math.Clamp(preferred, (uint)block, BlockMinMax));
        uint payload = Math.Min(max, NbdProtocol.PayloadStandard) / (uint)block * (uint)block;
        return export with { Bytes = whole, BlockMin = min, BlockPreferred = preferred, PayloadMax = payload };
    }

    private DiskImageException RefusedExport(uint reply, byte[] text)
    {
        string said = Printable(text);
        string name = _address.Export.Length == 0 ? "the default export" : $"export '{_address.Export}'";
        return Refused(_address, reply switch
        {
            NbdProtocol.ErrorUnknown => $"the server has no {name}{said}: correct the name (nbdinfo --list shows those there are)",
            NbdProtocol.ErrorPolicy => $"the server does not give us {name}{said}: allow this host there",
            NbdProtocol.ErrorTlsRequired => "the server asks for TLS: write nbds:// (or nbds+unix://)",
            NbdProtocol.ErrorShutdown => "the server is shutting down",
            NbdProtocol.ErrorUnsupported => "the server does not know NBD_OPT_GO, of 2016: use a newer one",
            _ => $"the server refuses {name} by error {reply - NbdProtocol.ReplyErrorBit}{said}",
        });
    }

    private void Send(uint option, ReadOnlySpan<byte> data)
    {
        byte[] message = new byte[16 + data.Length];
        BinaryPrimitives.WriteUInt64BigEndian(message, NbdProtocol.OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(8), option);
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(12), (uint)data.Length);
        data.CopyTo(message.AsSpan(16));
        _stream.Write(message);
    }

    private (uint Reply, byte[] Data) Receive(uint option)
    {
        Span<byte> header = stackalloc byte[20];
        _stream.Read(header);
        if (BinaryPrimitives.ReadUInt64BigEndian(header) != NbdProtocol.OptionReplyMagic)
            throw new NbdProtocolException("answers an option by something else");
        if (BinaryPrimitives.ReadUInt32BigEndian(header[8..]) != option)
            throw new NbdProtocolException("answers an option that was not asked for");
        uint length = BinaryPrimitives.ReadUInt32BigEndian(header[16..]);
        if (length > ReplyBytesMax) throw new NbdProtocolException($"answers an option by {length} bytes");
        byte[] data = new byte[length];
        _stream.Read(data);
        return (BinaryPrimitives.ReadUInt32BigEndian(header[12..]), data);
    }

    /// <summary>What a server says, on one line of printable characters.</summary>
    private static string Printable(byte[] text)
    {
        const int Shown = 200;
        if (text.Length == 0) return "";
        string said = new([.. Encoding.UTF8.GetString(text).Take(Shown).Select(letter => char.IsControl(letter) ? ' ' : letter)]);
        return $" (it says: {said.Trim()})";
    }
}
