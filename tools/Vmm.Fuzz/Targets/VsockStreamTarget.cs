using Vmm.Devices;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Fuzz;

/// <summary>
/// Sockets whose guest and host keep to the rules, in any order and at any pace: buffers of any size, few or none, packets cut anywhere,
/// hosts that stop reading, ends of one direction, queues that are reset in between. Every byte has to arrive, once and in order, in
/// both directions, and then the end.
/// </summary>
internal sealed class VsockStreamTarget : IFuzzTarget
{
    private const uint Cid = 3;
    private const int StepsMax = 300;
    private const int StreamsMax = 4;
    private const int DrainsMax = 5_000;
    private const ulong RingFeatures = VirtioFeatures.PackedRing | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;

    private static int _made;

    private readonly Tally _tally;
    private readonly string _directory = Scratch.NextDirectory();
    private readonly UnixSocket _listener;
    private readonly VsockDevice _device;
    private readonly FuzzMachine _machine;
    private readonly List<VsockStream> _streams = [];
    private VsockFuzzDriver? _driver;
    private uint _nextPort;

    internal VsockStreamTarget(Tally tally)
    {
        _tally = tally;
        string path = Path.Combine(_directory, "v");
        _listener = UnixEndpoint.Listen($"{path}_{VsockFuzzDriver.HostPort}", UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _device = new VsockDevice("vsock0", Cid, path);
        _machine = new FuzzMachine(_device, Interlocked.Increment(ref _made) % 2 == 0 ? PollerKind.IoRing : PollerKind.Epoll);
    }

    public void Run(FuzzInput input)
    {
        _machine.Reset(() => { });
        ulong bits = input.Byte();
        _machine.Start(~RingFeatures | ((bits & 1) != 0 ? VirtioFeatures.PackedRing : 0) | ((bits & 2) != 0 ? VirtioFeatures.EventIndex : 0)
            | ((bits & 4) != 0 ? VirtioFeatures.IndirectDescriptors : 0), sizeMax: 32);
        _driver = new VsockFuzzDriver(_machine, Cid, _streams);
        int steps = 0;
        for (; !input.IsSpent && steps < StepsMax; steps++) Act(input);
        Drain();
        _tally.Add("steps", steps);
        _tally.Add("streams", _streams.Count);
        foreach (VsockStream stream in _streams)
        {
            _tally.Add("bytes", stream.GuestSent + stream.HostSent);
            stream.Host.Dispose();
        }
        _streams.Clear();
        _machine.AskWitness();
        _machine.Reset(() => { });
        BrokenPromiseException.Unless(_device.Connections == 0, $"{_device.Connections} connections after a reset");
    }

    public void Dispose()
    {
        _machine.Dispose();
        _listener.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private void Act(FuzzInput input)
    {
        int what = input.Next(16);
        if (_streams.Count == 0 || (what == 0 && _streams.Count < StreamsMax))
        {
            if (input.OneIn(2)) OpenFromGuest(); else OpenFromHost();
            return;
        }
        VsockStream stream = _streams[input.Next(_streams.Count)];
        switch (what)
        {
            case 1: _driver!.ResetQueue(input.Next(2)); return;
            case 2: _driver!.EndSending(stream); return;
            case 3: stream.HostEnds(); return;
            case 4 or 5: _driver!.GiveBuffers(input.Next(6), 1 + input.UInt16() % VsockFuzzDriver.BufferPayloadMax); return;
            case 6 or 7: _driver!.TakePackets(); return;
            case 8: _driver!.SayCredit(stream); return;
            case 9: stream.HostReads(input.UInt16()); return;
            case 10 when input.OneIn(3): PauseAndResume(stream); return;
            case 10: stream.HostReads(int.MaxValue); return;
            case 11: stream.HostWrites(input.UInt16()); return;
            case 12 or 13: _driver!.Send(stream, input.UInt16() % VsockFuzzDriver.PacketPayloadMax, cut: input.Byte()); return;
            case 14: Stuff(stream, input.UInt16() % VsockFuzzDriver.PacketPayloadMax, count: input.Next(64)); return;
            default: _machine.Turn(1 + input.Next(8)); return;
        }
    }

    /// <summary>Packet after packet, until the host's socket is full, then the credit is used up.</summary>
    private void Stuff(VsockStream stream, int bytes, int count)
    {
        for (; count > 0; count--)
        {
            _driver!.Send(stream, bytes, cut: 0);
            _machine.Turn(2);
            _driver.GiveBuffers(1, VsockFuzzDriver.BufferPayloadMax);
            _driver.TakePackets();
        }
    }

    /// <summary>The machine stands still for a while; the host does not.</summary>
    private void PauseAndResume(VsockStream stream)
    {
        Task paused = _machine.Transport.PauseAsync();
        _machine.RunUntil(() => paused.IsCompleted, "a pause that never comes");
        stream.HostReads(50_000);
        stream.HostWrites(5_000);
        BrokenPromiseException.Unless(_machine.Turn(100), "it does not stop in a pause");
        Task resumed = _machine.Transport.ResumeAsync();
        _machine.RunUntil(() => resumed.IsCompleted, "a pause that never ends");
    }

    private void OpenFromGuest()
    {
        uint port = _nextPort++;
        _driver!.Say(VsockOperation.Request, port, VsockFuzzDriver.HostPort, forwarded: 0);
        VsockHeader answer = _driver.Await(port, VsockOperation.Response);
        UnixSocket? host = _listener.Accept(out _);
        BrokenPromiseException.Unless(host is not null, "the guest got a connection without a host");
        _streams.Add(new VsockStream(answer, host!));
    }

    private void OpenFromHost()
    {
        uint port = _nextPort++;
        UnixSocket host = UnixEndpoint.Connect(_device.Path);
        host.SendParts(System.Text.Encoding.ASCII.GetBytes($"CONNECT {port}\n"), [], out _);
        VsockHeader request = _driver!.Await(port, VsockOperation.Request);
        _driver.Say(VsockOperation.Response, port, request.SourcePort, forwarded: 0);
        byte[] expected = System.Text.Encoding.ASCII.GetBytes($"OK {request.SourcePort}\n"), said = new byte[expected.Length];
        _machine.RunUntil(() => host.Receive(said, out uint got) == Errno.None && got == said.Length, "the host never got OK");
        BrokenPromiseException.Unless(said.AsSpan().SequenceEqual(expected), "the host got something else than OK");
        _streams.Add(new VsockStream(request, host));
    }

    /// <summary>Both sides read until nothing is left.</summary>
    private void Drain()
    {
        for (int round = 0; !_streams.TrueForAll(stream => stream.IsDone); round++)
        {
            if (round == DrainsMax) throw new BrokenPromiseException($"not everything arrived: {string.Join("; ", _streams)}");
            _driver!.GiveBuffers(4, VsockFuzzDriver.BufferPayloadMax);
            _driver.TakePackets();
            foreach (VsockStream stream in _streams)
            {
                stream.HostReads(int.MaxValue);
                _driver.SayCredit(stream);
            }
            _machine.Turn(16);
        }
    }
}
