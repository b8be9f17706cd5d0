namespace Vmm.Devices;

/// <summary>
/// The guest's next few receive buffers, taken ahead so that one read of a host socket fills several of them: a Linux guest gives 4 KiB
/// each. First taken, first used. What was taken and not filled stays here until it is.
/// </summary>
internal sealed class VsockReceiveBuffers
{
    private const int CountMax = 32;

    private static readonly GuestFault NoRoom = new(GuestFaultKind.Request, "a receive buffer without room for a packet (§ 5.10.6.1.1)");

    private readonly DescriptorChain?[] _chains = new DescriptorChain?[CountMax];
    private readonly uint[] _payloads = new uint[CountMax];
    private int _first;
    private int _end;

    /// <summary>Has at least one buffer at hand.</summary>
    /// <returns>False if the guest has given none.</returns>
    internal bool TryHaveOne(VirtQueue queue) => _first < _end || TryTake(queue);

    /// <summary>Describes room for payload, over as many buffers as are there and needed. The first is at hand.</summary>
    /// <param name="queue">Where more buffers come from.</param>
    /// <param name="wanted">Bytes of payload.</param>
    /// <param name="vectors">Filled from the start.</param>
    /// <returns>How many of them.</returns>
    internal int Describe(VirtQueue queue, uint wanted, Span<IoVector> vectors)
    {
        int filled = 0;
        for (int i = _first; wanted > 0 && filled < vectors.Length; i++)
        {
            if (i == _end)
            {
                // Taking may move them to the front.
                int at = i - _first;
                if (!TryTake(queue)) break;
                i = _first + at;
            }
            filled += _chains[i]!.Writable.FillVectors(vectors[filled..], VsockHeader.Bytes, wanted, out ulong described);
            _payloads[i] = (uint)described;
            wanted -= (uint)described;
        }
        return filled;
    }

    /// <summary>Gives the guest the payload that was read into what <see cref="Describe"/> described, a packet for each buffer.</summary>
    internal void Deliver(VirtQueue queue, VsockSender sender, uint payload)
    {
        while (payload > 0)
        {
            uint here = Math.Min(payload, _payloads[_first]);
            Send(queue, sender.Header(VsockOperation.Data, here), here);
            payload -= here;
        }
    }

    /// <summary>Copies payload behind the header of the next packet, as far as there is room.</summary>
    /// <returns>Bytes copied.</returns>
    internal uint Fill(ReadOnlySpan<byte> payload)
    {
        ChainWriter writer = _chains[_first]!.Writable;
        writer.TrySkip(VsockHeader.Bytes);
        return (uint)writer.CopyFrom(payload);
    }

    /// <summary>Gives the guest a packet in the next buffer, which is at hand. The payload is there already.</summary>
    internal void Send(VirtQueue queue, in VsockHeader header, uint payload)
    {
        DescriptorChain chain = _chains[_first]!;
        chain.Writable.TryWrite(header);
        _chains[_first++] = null;
        if (_first == _end) _first = _end = 0;
        queue.Push(chain, VsockHeader.Bytes + payload);
    }

    /// <summary>Puts all back into the ring, the latest first: the queue stops.</summary>
    internal void PutBack(VirtQueue queue)
    {
        while (_end > _first)
        {
            queue.Unpop(_chains[--_end]!);
            _chains[_end] = null;
        }
        _first = _end = 0;
    }

    private bool TryTake(VirtQueue queue)
    {
        if (_end - _first == CountMax) return false;
        if (_end == CountMax)
        {
            Array.Copy(_chains, _first, _chains, 0, _end - _first);
            Array.Copy(_payloads, _first, _payloads, 0, _end - _first);
            Array.Clear(_chains, _end - _first, _first);
            (_first, _end) = (0, _end - _first);
        }
        if (!queue.TryPop(out DescriptorChain? chain)) return false;
        if (chain.WritableLength > VsockHeader.Bytes)
        {
            _chains[_end++] = chain;
            return true;
        }
        queue.Push(chain, 0);
        queue.Fault(NoRoom);
        return false;
    }
}
