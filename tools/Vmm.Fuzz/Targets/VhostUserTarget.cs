using System.Buffers.Binary;
using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// The socket of a device that is served to front-ends: one connects, says anything in messages of any shape, with descriptors of any kind,
/// over a ring of noise, and goes. The next one is served. What the session has made beside the reactor is made between two turns, so an
/// input meets the same order each time.
/// </summary>
internal sealed class VhostUserTarget : IFuzzTarget
{
    private const int MessagesMax = 60;
    private const int TurnsMax = 1_000;
    private const ulong Memory = 1 << 16;
    private const ulong Buffer = Memory / 2;
    private const uint Bytes = 32;

    private static readonly VhostUserRequest[] Requests = Enum.GetValues<VhostUserRequest>();

    private readonly Tally _tally;
    private readonly string _path = Scratch.NextPath();
    private readonly Reactor _reactor = new(new ReactorOptions
    {
        Name = "vhost-user",
        HandlerFailurePolicy = HandlerFailurePolicy.StopReactor
    });
    private readonly EntropyDevice _device = new("rng0");
    private readonly HeldCalls _calls = new();
    private readonly VhostUserBackend _backend;
    private readonly GuestMemory _memory = GuestMemory.Create(Memory);
    private readonly EventFd _eventFd = new();
    private readonly byte[] _reply = new byte[1024];

    internal VhostUserTarget(Tally tally)
    {
        _tally = tally;
        _backend = new VhostUserBackend(_device, _path, _reactor, new VhostUserBackendOptions { SlowCalls = _calls.Add });
    }

    public void Run(FuzzInput input)
    {
        Attack(input);
        Prove();
    }

    public void Dispose()
    {
        bool stopped = false;
        _backend.Stop(() => stopped = true);
        Turn(() => stopped, "the back-end does not stop");
        _reactor.Dispose();
        _device.Dispose();
        _memory.Dispose();
        _eventFd.Dispose();
    }

    private void Attack(FuzzInput input)
    {
        using UnixSocket socket = UnixEndpoint.Connect(_path);
        (UnixSocket other, UnixSocket theirs) = UnixSocket.Pair();
        int[] fds = [_eventFd.Number, _memory.Regions[0].File.Number, theirs.Number, 0];
        if (input.OneIn(2))
        {
            Noise(input);
            Begin(socket, _memory, input.OneIn(2) ? VirtioFeatures.EventIndex : 0);
            StartRing(socket, 0, 8192, 4096);
        }
        int messages = 0;
        for (; !input.IsSpent && messages < MessagesMax; messages++)
        {
            if (!SayAnything(socket, input, fds)) break;
            if (!input.OneIn(4)) Step(input.Next(8));
            if (input.OneIn(2)) Drain(socket);
        }
        other.Dispose();
        theirs.Dispose();
        _tally.Add("messages", messages);
    }

    /// <summary>The next front-end's requests are answered.</summary>
    private void Prove()
    {
        using UnixSocket socket = UnixEndpoint.Connect(_path);
        Begin(socket, _memory, 0);
        using DriverQueue ring = DriverQueue.Create(_memory, new GuestAllocator(0, Buffer), 16, VirtioFeatures.Version1);
        ring.TryAdd([], [new GuestBuffer(Buffer, Bytes)], out _);
        ring.Publish();
        StartRing(socket, ring.DescriptorTable, ring.DeviceRing, ring.DriverRing);
        UsedChain used = default;
        Turn(() => ring.TryCollect(out used), "the next front-end is not served");
        BrokenPromiseException.Unless(used.Written == Bytes, $"the next front-end got {used.Written} of {Bytes} bytes");
    }

    private void Begin(UnixSocket socket, GuestMemory memory, ulong features)
    {
        Say(socket, VhostUserRequest.SetOwner, [], []);
        Say(socket, VhostUserRequest.SetFeatures, BitConverter.GetBytes(VirtioFeatures.Version1 | features), []);
        byte[] region = VhostUserFrontend.SlotPayload(memory.Regions[0]);
        Say(socket, VhostUserRequest.SetMemoryTable, [1, 0, 0, 0, 0, 0, 0, 0, .. region.AsSpan(8)], [memory.Regions[0].File.Number]);
    }

    private void StartRing(UnixSocket socket, ulong descriptors, ulong used, ulong available)
    {
        ulong start = (ulong)_memory.Regions[0].HostAddress;
        Say(socket, VhostUserRequest.SetVringNum, VhostUserFrontend.StatePayload(0, 16), []);
        Say(socket, VhostUserRequest.SetVringBase, VhostUserFrontend.StatePayload(0, 0), []);
        Say(socket, VhostUserRequest.SetVringAddress,
            [.. new byte[8], .. BitConverter.GetBytes(start + descriptors), .. BitConverter.GetBytes(start + used),
                .. BitConverter.GetBytes(start + available), .. new byte[8]], []);
        Say(socket, VhostUserRequest.SetVringCall, VhostUserFrontend.RingWord(0), [_eventFd.Number]);
        Say(socket, VhostUserRequest.SetVringKick, VhostUserFrontend.RingWord(0), [_eventFd.Number]);
    }

    private void Say(UnixSocket socket, VhostUserRequest request, ReadOnlySpan<byte> payload, ReadOnlySpan<int> fds)
    {
        byte[] message = new byte[VhostUserHeader.Bytes + payload.Length];
        VhostUserHeader.ForRequest((uint)request, payload.Length, needsReply: false).Write(message);
        payload.CopyTo(message.AsSpan(VhostUserHeader.Bytes));
        socket.Send(message, fds, out _);
        Step(4);
    }

    /// <returns>Whether the other end is still there.</returns>
    private static bool SayAnything(UnixSocket socket, FuzzInput input, int[] fds)
    {
        VhostUserRequest request = input.OneIn(20) ? (VhostUserRequest)input.UInt32() : Requests[input.Next(Requests.Length)];
        bool isKnown = MessageShape.TryGet(request, out MessageShape shape);
        int bytes = isKnown && !input.OneIn(10) ? input.OneIn(2) ? shape.PayloadMin : shape.PayloadMax : input.UInt16() % 400;
        int count = isKnown && !input.OneIn(10) ? shape.FdsMin + input.Next(shape.FdsMax - shape.FdsMin + 1) : input.Next(10);
        byte[] message = new byte[VhostUserHeader.Bytes + bytes];
        VhostUserHeader.ForRequest((uint)request, bytes, needsReply: input.OneIn(2)).Write(message);
        for (int i = VhostUserHeader.Bytes; i + 4 <= message.Length && !input.IsSpent; i += 4)
            BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(i), input.OneIn(3) ? (uint)input.Interesting() : (uint)input.Next(3));
        if (input.OneIn(15)) message[input.Next(VhostUserHeader.Bytes)] ^= (byte)(1 << input.Next(8));
        int[] sent = new int[count];
        for (int i = 0; i < count; i++) sent[i] = fds[input.Next(fds.Length)];
        int cut = input.OneIn(5) ? 1 + input.Next(message.Length - 1) : message.Length;
        socket.Send(message.AsSpan(0, cut), sent, out Errno errno);
        if (cut < message.Length && !input.OneIn(3)) socket.Send(message.AsSpan(cut), input.OneIn(4) ? sent : [], out errno);
        return errno is Errno.None or Errno.Again;
    }

    private void Drain(UnixSocket socket)
    {
        using ReceivedFds received = new();
        socket.Receive(_reply, received);
    }

    /// <summary>Small numbers, so that descriptors hit memory now and then.</summary>
    private void Noise(FuzzInput input)
    {
        Span<byte> noise = stackalloc byte[256];
        input.Fill(noise);
        foreach (ulong at in (ReadOnlySpan<ulong>)[0, 4096, 8192]) _memory.TryWrite(at, noise);
    }

    private void Step(int turns)
    {
        for (int i = 0; i < turns && (_reactor.RunOnce(TimeSpan.Zero) > 0 | _calls.TryMakeNext()); i++)
        {
        }
    }

    private void Turn(Func<bool> condition, string otherwise)
    {
        for (int turn = 0; !condition(); turn++)
        {
            BrokenPromiseException.Unless(turn < TurnsMax, otherwise);
            _reactor.RunOnce(TimeSpan.Zero);
            _calls.TryMakeNext();
        }
    }
}
