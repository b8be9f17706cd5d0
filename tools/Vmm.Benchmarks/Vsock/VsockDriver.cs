using System.Runtime.InteropServices;
using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Benchmarks;

/// <summary>
/// The guest's driver of the vsock comparison: copies what its program writes or reads, as a kernel does, and is interrupted only when it
/// waits. Allocates nothing once it is connected.
/// </summary>
internal sealed unsafe class VsockDriver : IVirtioInterrupt, IDisposable
{
    /// <summary>Most payload of a packet, as Linux has it.</summary>
    internal const int PacketBytesMax = 64 * 1024;

    private const ushort ReceiveBuffers = 128;
    private const ushort TransmitSlots = 32;
    private const uint FirstGuestPort = 1025;
    private const uint Window = 256 * 1024;
    private const int SlotBytes = 128 * 1024;

    private readonly GuestMemory _memory;
    private readonly DriverQueue[] _rings;
    private readonly EventFd[] _kicks = [new(), new()];
    private readonly EventFd _call = new();
    private readonly Stack<ulong> _slots = new();
    private readonly ulong[] _lentSlots = new ulong[TransmitSlots];
    private readonly ulong[] _lentBuffers = new ulong[ReceiveBuffers];
    private readonly uint _bufferBytes;
    private readonly uint _cid;
    private readonly uint _hostPort;
    private readonly Stream[] _streams;

    internal VsockDriver(GuestMemory memory, ulong features, uint bufferBytes, uint cid, uint hostPort, int streams)
    {
        _streams = new Stream[streams];
        (_memory, _bufferBytes, _cid, _hostPort) = (memory, bufferBytes, cid, hostPort);
        GuestAllocator allocator = new(1 << 16, memory.Regions[0].Length - (1 << 16));
        _rings = [DriverQueue.Create(memory, allocator, ReceiveBuffers, features),
            DriverQueue.Create(memory, allocator, TransmitSlots, features)];
        foreach (DriverQueue ring in _rings) ring.DisableInterrupts();
        for (int i = 0; i < TransmitSlots; i++) _slots.Push(allocator.Allocate(SlotBytes));
        for (int i = 0; i < ReceiveBuffers; i++) Give(allocator.Allocate(bufferBytes));
        Receive.Publish();
    }

    private DriverQueue Receive => _rings[0];

    private DriverQueue Transmit => _rings[1];

    internal DriverQueue Ring(int index) => _rings[index];

    internal EventFd KickOf(int index) => _kicks[index].Duplicate();

    /// <summary>Connects a stream to the program of the host.</summary>
    internal void Connect(int stream)
    {
        Send(stream, VsockOperation.Request, default);
        while (_streams[stream].Peer.Operation != VsockOperation.Response) Await(Receive);
    }

    /// <summary>The guest's program writes.</summary>
    internal void Write(int stream, ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            while (_streams[stream].Credit == 0) Await(Receive);
            int length = Math.Min(Math.Min(bytes.Length, _streams[stream].Credit), PacketBytesMax);
            Send(stream, VsockOperation.Data, bytes[..length]);
            bytes = bytes[length..];
        }
        TakePackets(default);
    }

    /// <summary>The guest's program reads what is there; waits if nothing is.</summary>
    /// <param name="bytes">Overwritten from its start by each packet: the copy counts, not the content.</param>
    internal long Read(Span<byte> bytes)
    {
        long read = TakePackets(bytes);
        while (read == 0) read = Await(Receive, bytes);
        return read;
    }

    public void SignalQueue(int queueIndex) => _call.Signal();

    public void SignalConfig()
    {
    }

    public void SignalNeedsReset() => throw new InvalidOperationException("the device asks for a reset");

    public void Dispose()
    {
        _call.Dispose();
        foreach (EventFd kick in _kicks) kick.Dispose();
        foreach (DriverQueue ring in _rings) ring.Dispose();
    }

    private void Send(int number, VsockOperation operation, ReadOnlySpan<byte> payload)
    {
        while (Transmit.TryCollect(out UsedChain used)) _slots.Push(_lentSlots[used.Id]);
        while (_slots.Count == 0)
        {
            Await(Transmit);
            while (Transmit.TryCollect(out UsedChain used)) _slots.Push(_lentSlots[used.Id]);
        }
        ulong slot = _slots.Pop();
        Span<byte> packet = Bytes(slot, VsockHeader.Bytes + (uint)payload.Length);
        ref Stream stream = ref _streams[number];
        stream.Sent += (uint)payload.Length;
        stream.Reported = stream.Forwarded;
        VsockHeader header = new()
        {
            SourceCid = _cid,
            DestinationCid = VsockProtocol.HostCid,
            SourcePort = FirstGuestPort + (uint)number,
            DestinationPort = _hostPort,
            Length = (uint)payload.Length,
            Type = VsockType.Stream,
            Operation = operation,
            BufferBytes = Window,
            ForwardedBytes = stream.Forwarded,
        };
        MemoryMarshal.Write(packet, in header);
        payload.CopyTo(packet[(int)VsockHeader.Bytes..]);
        if (!Transmit.TryAdd([new GuestBuffer(slot, (uint)packet.Length)], [], out ushort id))
            throw new InvalidOperationException("no room for a slot of the ring's own");
        _lentSlots[id] = slot;
        if (Transmit.Publish()) _kicks[1].Signal();
    }

    /// <summary>Takes the packets that are there.</summary>
    /// <returns>Bytes of payload.</returns>
    private long TakePackets(Span<byte> bytes)
    {
        long payload = 0;
        while (Receive.TryCollect(out UsedChain used))
        {
            ulong buffer = _lentBuffers[used.Id];
            Span<byte> packet = Bytes(buffer, used.Written);
            VsockHeader header = MemoryMarshal.Read<VsockHeader>(packet);
            ref Stream stream = ref _streams[header.DestinationPort - FirstGuestPort];
            stream.Peer = header;
            if (header.Operation == VsockOperation.Reset) throw new InvalidOperationException("the device reset the connection");
            packet[(int)VsockHeader.Bytes..].CopyTo(bytes);
            payload += header.Length;
            stream.Forwarded += header.Length;
            Give(buffer);
        }
        if (Receive.Publish()) _kicks[0].Signal();
        for (int i = 0; payload > 0 && i < _streams.Length; i++)
        {
            if (_streams[i].Forwarded - _streams[i].Reported >= Window / 2) Send(i, VsockOperation.CreditUpdate, default);
        }
        return payload;
    }

    private void Give(ulong buffer)
    {
        if (!Receive.TryAdd([], [new GuestBuffer(buffer, _bufferBytes)], out ushort id))
            throw new InvalidOperationException("no room for a buffer of the ring's own");
        _lentBuffers[id] = buffer;
    }

    /// <summary>Waits until the device has used a buffer of a queue, and takes the packets that came.</summary>
    private long Await(DriverQueue queue, Span<byte> bytes = default)
    {
        if (!queue.EnableInterrupts())
        {
            PollEntry entry = new() { Fd = _call.Number, Events = SocketCalls.POLLIN };
            while (!queue.HasUsed)
            {
                _ = SocketCalls.Poll(&entry, 1, -1);
                _call.TryRead(out _);
            }
        }
        queue.DisableInterrupts();
        return TakePackets(bytes);
    }

    private Span<byte> Bytes(ulong address, uint length) => _memory.TryGetSpan(address, length, out Span<byte> span)
        ? span
        : throw new InvalidOperationException("memory of the driver's own is gone");

    /// <summary>A stream: the latest header that came for it, and the bytes it sent, took, and said that it took.</summary>
    private struct Stream
    {
        internal VsockHeader Peer;
        internal uint Sent;
        internal uint Forwarded;
        internal uint Reported;

        internal readonly int Credit => (int)(Peer.BufferBytes - (Sent - Peer.ForwardedBytes));
    }
}
