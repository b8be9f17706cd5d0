namespace Vmm.Devices.Simulation;

/// <summary>A stream between a port of the guest and one of the host, as the guest's kernel has it. On CPU 0.</summary>
internal sealed class GuestSocket(uint localPort, uint hostPort)
{
    /// <summary>Most unread bytes: the credit the host gets.</summary>
    internal const int InputBytesMax = 128 * 1024;

    private readonly CircularBytes _input = new(InputBytesMax);
    private uint _forwarded;
    private uint _reported;
    private uint _sent;
    private uint _hostBuffer;
    private uint _hostForwarded;

    internal uint LocalPort => localPort;

    internal uint HostPort => hostPort;

    /// <summary>The host accepted, or was accepted.</summary>
    internal bool IsOpen { get; set; }

    /// <summary>The connection is over, or never came to be.</summary>
    internal bool IsReset { get; set; }

    /// <summary>What the host said it does no more (the flags of SHUTDOWN).</summary>
    internal uint HostShutdown { get; set; }

    /// <summary>Bytes that wait to be read.</summary>
    internal int Waiting => _input.Count;

    /// <summary>Whether everything the host sent was read, and no more will come.</summary>
    internal bool IsAtEnd => _input.Count == 0 && (IsReset || (HostShutdown & VsockProtocol.SendsNoMore) != 0);

    /// <summary>Whether the host takes no more.</summary>
    internal bool IsClosedForSending => IsReset || (HostShutdown & VsockProtocol.ReceivesNoMore) != 0;

    /// <summary>Bytes the host has room for.</summary>
    internal int Credit => (int)Math.Max(0, (long)_hostBuffer - (_sent - _hostForwarded));

    /// <summary>Whether the host should get a credit update.</summary>
    internal bool ShouldReportCredit => _forwarded - _reported >= InputBytesMax / 2;

    internal void TakeCredit(in VsockHeader header) => (_hostBuffer, _hostForwarded) = (header.BufferBytes, header.ForwardedBytes);

    /// <summary>Takes payload in; a host that keeps to its credit has room.</summary>
    internal bool TryTake(ReadOnlySpan<byte> payload) => _input.Write(payload) == payload.Length;

    internal int Read(Span<byte> destination)
    {
        int length = _input.Peek(destination);
        _input.Skip(length);
        _forwarded += (uint)length;
        return length;
    }

    internal VsockHeader Header(uint cid, VsockOperation operation, int length, uint flags)
    {
        _reported = _forwarded;
        _sent += (uint)length;
        return new VsockHeader
        {
            SourceCid = cid,
            DestinationCid = VsockProtocol.HostCid,
            SourcePort = localPort,
            DestinationPort = hostPort,
            Length = (uint)length,
            Type = VsockType.Stream,
            Operation = operation,
            Flags = flags,
            BufferBytes = InputBytesMax,
            ForwardedBytes = _forwarded,
        };
    }
}
