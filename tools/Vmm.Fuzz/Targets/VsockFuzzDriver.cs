using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Simulation;

namespace Vmm.Fuzz;

/// <summary>A driver of the socket device that keeps to the rules.</summary>
internal sealed class VsockFuzzDriver
{
    internal const uint HostPort = 1000;
    internal const int PacketPayloadMax = SlotBytes - (int)VsockHeader.Bytes;
    internal const int BufferPayloadMax = BufferBytes - (int)VsockHeader.Bytes;

    private const int ReceiveQueue = 0;
    private const int TransmitQueue = 1;
    private const int SlotBytes = 16 * 1024;
    private const int SlotsMax = 16;
    private const int BufferBytes = 8 * 1024;
    private const int BuffersMax = 16;
    private const uint Window = 64 * 1024;
    private const int TurnsToRest = 1_000;
    private const ulong Buffers = FuzzMachine.BufferStart + SlotsMax * SlotBytes;

    private readonly FuzzMachine _machine;
    private readonly uint _cid;
    private readonly List<VsockStream> _streams;
    private readonly Stack<ulong> _slots = new();
    private readonly Stack<ulong> _buffers = new();
    private readonly Dictionary<ushort, ulong> _lentSlots = [];
    private readonly Dictionary<ushort, ulong> _lentBuffers = [];
    private readonly Queue<VsockHeader> _news = new();

    internal VsockFuzzDriver(FuzzMachine machine, uint cid, List<VsockStream> streams)
    {
        (_machine, _cid, _streams) = (machine, cid, streams);
        for (int i = 0; i < SlotsMax; i++) _slots.Push(FuzzMachine.BufferStart + (ulong)i * SlotBytes);
        for (int i = 0; i < BuffersMax; i++) _buffers.Push(Buffers + (ulong)i * BufferBytes);
    }

    private DriverQueue Receive => _machine.Rings[ReceiveQueue]!;

    private DriverQueue Transmit => _machine.Rings[TransmitQueue]!;

    /// <summary>Sends the next bytes of a stream, as many as it may and the driver has a slot for.</summary>
    internal void Send(VsockStream stream, int bytes, byte cut)
    {
        bytes = Math.Min(bytes, stream.Credit);
        if (bytes <= 0 || stream.GuestEnded || !TrySlot(out ulong slot)) return;
        VsockHeader header = Header(VsockOperation.Data, stream.GuestPort, stream.HostPort, (uint)stream.GuestGot);
        header.Length = (uint)bytes;
        byte[] payload = new byte[bytes];
        VsockStream.Fill(payload, stream.GuestSent, fromGuest: true);
        _machine.Memory.TryWrite(slot + VsockHeader.Bytes, payload);
        uint first = Math.Min(cut, VsockHeader.Bytes + (uint)bytes - 1);
        if (!Put(slot, header, VsockHeader.Bytes + (uint)bytes, first)) return;
        stream.GuestSent += bytes;
        stream.GuestReported = stream.GuestGot;
    }

    internal void EndSending(VsockStream stream)
    {
        if (stream.GuestEnded || !TrySlot(out ulong slot)) return;
        VsockHeader header = Header(VsockOperation.Shutdown, stream.GuestPort, stream.HostPort, (uint)stream.GuestGot);
        header.Flags = VsockProtocol.SendsNoMore;
        stream.GuestEnded = Put(slot, header, VsockHeader.Bytes, 0);
        if (stream.GuestEnded) stream.GuestReported = stream.GuestGot;
    }

    internal void SayCredit(VsockStream stream)
    {
        // One slot stays for what can't wait.
        CollectSlots();
        if (_slots.Count < 2) return;
        Say(VsockOperation.CreditUpdate, stream.GuestPort, stream.HostPort, (uint)stream.GuestGot);
        stream.GuestReported = stream.GuestGot;
    }

    internal void Say(VsockOperation operation, uint guestPort, uint hostPort, uint forwarded)
    {
        _machine.RunUntil(() => TrySlot(out _, peek: true), "the device keeps every packet of the guest");
        TrySlot(out ulong slot);
        BrokenPromiseException.Unless(Put(slot, Header(operation, guestPort, hostPort, forwarded), VsockHeader.Bytes, 0),
            "a ring with a free slot is full");
    }

    /// <summary>Waits for a packet of control.</summary>
    internal VsockHeader Await(uint guestPort, VsockOperation operation)
    {
        VsockHeader found = default;
        _machine.RunUntil(
            () =>
            {
                GiveBuffers(2, BufferPayloadMax);
                TakePackets();
                while (_news.TryDequeue(out VsockHeader header))
                {
                    if (header.DestinationPort == guestPort && header.Operation == operation) found = header;
                }
                return found.Operation == operation;
            },
            $"no {operation} came");
        return found;
    }

    internal void GiveBuffers(int count, int payload)
    {
        for (; count > 0 && _buffers.Count > 0; count--)
        {
            ulong buffer = _buffers.Pop();
            uint length = VsockHeader.Bytes + (uint)payload;
            if (!Receive.TryAdd([], [new GuestBuffer(buffer, 30), new GuestBuffer(buffer + 30, length - 30)], out ushort id))
            {
                _buffers.Push(buffer);
                break;
            }
            _lentBuffers[id] = buffer;
        }
        if (Receive.Publish()) _machine.Registers.Kick(ReceiveQueue);
    }

    internal void TakePackets()
    {
        while (Receive.TryCollect(out UsedChain used))
        {
            _lentBuffers.Remove(used.Id, out ulong buffer);
            _buffers.Push(buffer);
            if (used.Written > 0) Take(buffer, used.Written);
        }
    }

    /// <summary>Resets a queue alone, and sets it up anew.</summary>
    internal void ResetQueue(int queue)
    {
        // What the device has not taken from a queue is gone with it; what it has taken and keeps is its business.
        BrokenPromiseException.Unless(_machine.Turn(TurnsToRest), "it does not stop");
        _machine.Registers.ResetQueue(queue);
        _machine.RunUntil(() => !_machine.Registers.IsQueueReady(queue), "a queue that is never reset");
        if (queue == ReceiveQueue)
        {
            TakePackets();
            foreach (ulong buffer in _lentBuffers.Values) _buffers.Push(buffer);
            _lentBuffers.Clear();
        }
        else
        {
            CollectSlots();
            BrokenPromiseException.Unless(_lentSlots.Count == 0,
                $"{_lentSlots.Count} packets were not given back before their queue was reset");
        }
        DriverQueue old = _machine.Rings[queue]!;
        _machine.Rings[queue] = DriverQueue.Create(_machine.Memory,
            new GuestAllocator(FuzzMachine.RingStart + ((ulong)(queue + 1) << 17), 1 << 17), old.Size, old.Features);
        old.Dispose();
        _machine.Registers.SetUpQueue(queue, _machine.Rings[queue]!.Configuration(queue));
    }

    private void Take(ulong buffer, uint written)
    {
        byte[] packet = new byte[written];
        _machine.Memory.TryRead(buffer, packet);
        VsockHeader header = MemoryMarshal.Read<VsockHeader>(packet);
        ReadOnlySpan<byte> payload = packet.AsSpan((int)VsockHeader.Bytes);
        BrokenPromiseException.Unless(header.Length == payload.Length,
            $"a packet that announces {header.Length} bytes and has {payload.Length}");
        if (_streams.Find(stream => stream.GuestPort == header.DestinationPort && stream.HostPort == header.SourcePort) is not { } of)
        {
            _news.Enqueue(header);
            return;
        }
        of.Peer = header;
        BrokenPromiseException.Unless(header.Operation is not VsockOperation.Reset, $"a connection was reset that neither end broke: {of}");
        BrokenPromiseException.Unless((uint)of.GuestSent - header.ForwardedBytes <= header.BufferBytes, "more was passed on than there is");
        if (header.Operation == VsockOperation.Data)
        {
            BrokenPromiseException.Unless(!of.GuestSawEnd, "bytes behind the end");
            VsockStream.Verify(payload, of.GuestGot, fromGuest: false);
            of.GuestGot += payload.Length;
            BrokenPromiseException.Unless(of.GuestGot - of.GuestReported <= Window, $"more bytes than the guest has credit for: {of}");
        }
        if (header.Operation == VsockOperation.Shutdown) of.GuestSawEnd |= (header.Flags & VsockProtocol.SendsNoMore) != 0;
    }

    private bool TrySlot(out ulong slot, bool peek = false)
    {
        CollectSlots();
        slot = 0;
        return peek ? _slots.Count > 0 : _slots.TryPop(out slot);
    }

    private void CollectSlots()
    {
        while (Transmit.TryCollect(out UsedChain used))
        {
            _lentSlots.Remove(used.Id, out ulong slot);
            _slots.Push(slot);
        }
    }

    private bool Put(ulong slot, VsockHeader header, uint length, uint first)
    {
        _machine.Memory.TryWrite(slot, MemoryMarshal.AsBytes(new ReadOnlySpan<VsockHeader>(in header)));
        GuestBuffer[] buffers = first == 0
            ? [new GuestBuffer(slot, length)] : [new GuestBuffer(slot, first), new GuestBuffer(slot + first, length - first)];
        if (!Transmit.TryAdd(buffers, [], out ushort id))
        {
            _slots.Push(slot);
            return false;
        }
        _lentSlots[id] = slot;
        if (Transmit.Publish()) _machine.Registers.Kick(TransmitQueue);
        return true;
    }

    private VsockHeader Header(VsockOperation operation, uint guestPort, uint hostPort, uint forwarded) => new()
    {
        SourceCid = _cid,
        DestinationCid = VsockProtocol.HostCid,
        SourcePort = guestPort,
        DestinationPort = hostPort,
        Type = VsockType.Stream,
        Operation = operation,
        BufferBytes = Window,
        ForwardedBytes = forwarded,
    };
}
