using System.Buffers.Binary;
using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>
/// What QEMU 7.2 said to back-ends when a Debian guest ran, message by message, said to ours. Recorded from outside, so only what is
/// on the wire counts: each request that was answered then is answered now, and no connection ends before its time.
/// </summary>
public abstract class ReplayTests(PollerKind poller) : PollerSuite(poller), IDisposable
{
    private const ulong MemoryBytes = 1 << 20;

    private readonly string _directory = Directory.CreateTempSubdirectory("vmm-replay-").FullName;
    private readonly TemporaryImage _image = new(sectors: 8);

    public void Dispose()
    {
        _image.Dispose();
        Directory.Delete(_directory, recursive: true);
        GC.SuppressFinalize(this);
    }

    [Theory]
    [InlineData("blk-mq.txt", 1)]
    [InlineData("blk-restart.txt", 2)]
    [InlineData("net.txt", 1)]
    [InlineData("rng.txt", 1)]
    [InlineData("vsock.txt", 1)]
    [InlineData("fs.txt", 1)]
    public void A_recorded_session_is_answered_to_its_end(string recording, int connections)
    {
        using ServedDevice served = new(DeviceOf(recording));
        int replayed = 0;
        foreach (string[] session in Sessions(recording))
        {
            using Replay replay = new(served.Connect());
            foreach (string line in session) replay.Say(line);
            replay.AssertAlive();
            replayed++;
        }
        Assert.Equal(connections, replayed);
        using VhostUserFrontend next = served.Connect();
        Assert.Equal(served.Device.Features, next.Ask(VhostUserRequest.GetFeatures) & served.Device.Features);
        Assert.Equal((0, 0), (served.Device.GuestFaults, served.Device.HostFaults));
    }

    /// <summary>The device a session was recorded with. There is no file system here: what QEMU says to one is said to a disk.</summary>
    private VirtioDevice DeviceOf(string recording) => recording switch
    {
        "net.txt" => new NetDevice("net0", new CountingNetwork(pairs: 1) { Offloads = NetOffloads.Checksum | NetOffloads.Tso4 }, new NetSpec { HasControlQueue = false }),
        "rng.txt" => new EntropyDevice("rng0"),
        "vsock.txt" => new VsockDevice("vsock0", 3, Path.Combine(_directory, "v")),
        _ => _image.OpenDevice(queues: 2),
    };

    private static IEnumerable<string[]> Sessions(string recording)
    {
        List<string> session = [];
        foreach (string line in File.ReadLines(Path.Combine(AppContext.BaseDirectory, "VhostUser", "Recordings", recording)))
        {
            if (line.StartsWith('#') || line.Length == 0) continue;
            if (line != "end")
            {
                session.Add(line);
                continue;
            }
            yield return [.. session];
            session.Clear();
        }
    }

    /// <summary>One connection. Addresses of the recorded guest are laid over a small memory; rings keep their order.</summary>
    private sealed class Replay(VhostUserFrontend frontend) : IDisposable
    {
        private readonly GuestMemory _memory = GuestMemory.Create(MemoryBytes);
        private readonly EventFd _fd = new();
        private readonly List<UnixSocket> _channels = [];
        private readonly Dictionary<ulong, ushort> _bases = [];
        private ulong _ringsUsed;
        private ulong _userBase = 0x7000_0000_0000;
        private ulong _protocol;

        /// <summary>Says one request as it was said, and reads the answer if there was one.</summary>
        internal void Say(string line)
        {
            string[] words = line.Split(' ');
            VhostUserRequest request = Enum.Parse<VhostUserRequest>(words[0]);
            Assert.True(MessageShape.TryGet(request, out MessageShape shape));
            // A front-end does not use what was not negotiated.
            if ((shape.Needs & ~(ProtocolFeatures)_protocol) != 0) return;
            bool needsReply = words.Contains("ack");
            ulong[] numbers = [.. words.Skip(1).Where(word => word.StartsWith("0x", StringComparison.Ordinal)).Select(word => ulong.Parse(word[2..], NumberStyles.HexNumber, CultureInfo.InvariantCulture))];
            (byte[] payload, int[] fds) = Build(request, numbers);
            frontend.Send(request, payload, fds, needsReply);
            if (shape.HasReply || needsReply) _ = frontend.Receive(request);
        }

        internal void AssertAlive() => Assert.NotEqual(0UL, frontend.Ask(VhostUserRequest.GetFeatures));

        public void Dispose()
        {
            frontend.Dispose();
            foreach (UnixSocket channel in _channels) channel.Dispose();
            _fd.Dispose();
            _memory.Dispose();
        }

        private (byte[] Payload, int[] Fds) Build(VhostUserRequest request, ulong[] numbers)
        {
            switch (request)
            {
                case VhostUserRequest.SetProtocolFeatures:
                    // The recorded back-ends had features that ours does not offer: a front-end acknowledges what is offered.
                    _protocol = numbers[0] & frontend.Ask(VhostUserRequest.GetProtocolFeatures);
                    return (BitConverter.GetBytes(_protocol), []);
                case VhostUserRequest.SetFeatures:
                    return (BitConverter.GetBytes(numbers[0]), []);
                case VhostUserRequest.SetBackendRequestFd:
                    (UnixSocket ours, UnixSocket theirs) = UnixSocket.Pair();
                    _channels.AddRange([ours, theirs]);
                    return ([], [theirs.Number]);
                case VhostUserRequest.SetVringCall or VhostUserRequest.SetVringKick or VhostUserRequest.SetVringError:
                    return (BitConverter.GetBytes(numbers[0]), [_fd.Number]);
                case VhostUserRequest.SetVringBase:
                    _bases[numbers[0]] = (ushort)numbers[1];
                    return (VhostUserFrontend.StatePayload((int)numbers[0], (uint)numbers[1]), []);
                case VhostUserRequest.SetVringNum or VhostUserRequest.GetVringBase or VhostUserRequest.SetVringEnable:
                    return (VhostUserFrontend.StatePayload((int)numbers[0], (uint)numbers[1]), []);
                case VhostUserRequest.SetVringAddress:
                    return (NextRing((uint)numbers[0]), []);
                case VhostUserRequest.AddMemoryRegion:
                    _userBase = numbers[0];
                    return ([.. new byte[8], .. Words(0, MemoryBytes, _userBase, 0)], [_memory.Regions[0].File.Number]);
                case VhostUserRequest.GetInflightFd or VhostUserRequest.SetInflightFd:
                    byte[] inflight = new byte[24];
                    new InflightGeometry(numbers[0], numbers[1], (ushort)numbers[2], (ushort)numbers[3]).Write(inflight);
                    return (inflight, request == VhostUserRequest.SetInflightFd ? [_memory.Regions[0].File.Number] : []);
                case VhostUserRequest.GetConfig:
                    byte[] config = new byte[MessageShape.ConfigHeaderBytes + (int)numbers[1]];
                    BinaryPrimitives.WriteUInt32LittleEndian(config, (uint)numbers[0]);
                    BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(4), (uint)numbers[1]);
                    return (config, []);
                default:
                    return ([], []);
            }
        }

        /// <summary>A ring of its own for each address message, with all that was ever available used: the guests' requests are not in the recording.</summary>
        private byte[] NextRing(uint index)
        {
            const ulong RingBytes = 16384;
            ulong descriptors = _ringsUsed++ * RingBytes % MemoryBytes, available = descriptors + 4096, used = descriptors + 8192;
            byte[] position = BitConverter.GetBytes(_bases.GetValueOrDefault(index));
            Assert.True(_memory.TryWrite(available + 2, position) && _memory.TryWrite(used + 2, position));
            return [.. BitConverter.GetBytes((ulong)index), .. Words(_userBase + descriptors, _userBase + used, _userBase + available, 0)];
        }

        private static byte[] Words(params ulong[] words) => [.. words.SelectMany(BitConverter.GetBytes)];
    }
}

public sealed class ReplayOnEpollTests() : ReplayTests(PollerKind.Epoll);

public sealed class ReplayOnIoRingTests() : ReplayTests(PollerKind.IoRing);
