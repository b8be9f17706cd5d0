using System.Buffers.Binary;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>A back-end broke the protocol, refused a request, or went.</summary>
internal sealed class VhostUserException(string message) : IOException(message);

/// <summary>
/// The front-end's side of vhost-user, for a VMM, a test or a load generator: hands memory and rings to a device in another process (or in
/// this one). Its calls block until the back-end has answered. Used by one thread.
/// </summary>
internal sealed class VhostUserFrontend : IDisposable
{
    private const ulong HasProtocolFeatures = 1UL << 30;
    private const uint NoFdFlag = 0x100;

    private readonly UnixSocket _socket;
    private readonly MessageReader _reader = new();
    private readonly int _timeoutMs;
    private ProtocolFeatures _protocol;

    private VhostUserFrontend(UnixSocket socket, TimeSpan timeout)
    {
        _socket = socket;
        _timeoutMs = (int)timeout.TotalMilliseconds;
    }

    /// <summary>The features in force, after <see cref="Negotiate"/>.</summary>
    internal ulong Features { get; private set; }

    /// <summary>Rings the back-end has; 1 if it does not say.</summary>
    internal int QueuesMax { get; private set; } = 1;

    /// <summary>The back-end's process; 0 if it is not visible from here.</summary>
    internal int BackendProcessId => _socket.PeerProcessId();

    /// <summary>Whether the back-end still holds the connection.</summary>
    internal bool IsConnected => !_socket.Ends().HungUp;

    /// <summary>What the protocol was extended by.</summary>
    internal ProtocolFeatures Protocol => _protocol;

    /// <summary>The connection, for tests that send what no front-end should.</summary>
    internal UnixSocket Socket => _socket;

    /// <summary>Connects to a back-end that listens.</summary>
    /// <param name="path">Its socket.</param>
    /// <param name="timeout">Longest wait for an answer; 30 seconds by default.</param>
    /// <exception cref="KernelException">No socket listens there.</exception>
    internal static VhostUserFrontend Connect(string path, TimeSpan? timeout = null) =>
        new(UnixEndpoint.Connect(path), timeout ?? TimeSpan.FromSeconds(30));

    /// <summary>Takes a connection over.</summary>
    internal static VhostUserFrontend Over(UnixSocket socket) => new(socket, TimeSpan.FromSeconds(30));

    /// <summary>Becomes the owner and settles features.</summary>
    /// <param name="wanted">The feature bits the driver can use; <see cref="VirtioFeatures.Version1"/> is always one of them.</param>
    /// <exception cref="VhostUserException">The back-end is from before virtio 1.0, or broke the protocol.</exception>
    internal void Negotiate(ulong wanted)
    {
        ulong offered = Ask(VhostUserRequest.GetFeatures);
        if ((offered & VirtioFeatures.Version1) == 0) throw new VhostUserException("the back-end does not speak virtio 1.0");
        if ((offered & HasProtocolFeatures) != 0)
        {
            const ProtocolFeatures Known = ProtocolFeatures.MultipleQueues | ProtocolFeatures.ReplyAck | ProtocolFeatures.Config
                | ProtocolFeatures.InflightSharedMemory | ProtocolFeatures.ConfigureMemorySlots | ProtocolFeatures.ResetDevice;
            _protocol = (ProtocolFeatures)Ask(VhostUserRequest.GetProtocolFeatures) & Known;
            SetWord(VhostUserRequest.SetProtocolFeatures, (ulong)_protocol);
            if (_protocol.HasFlag(ProtocolFeatures.MultipleQueues)) QueuesMax = (int)Ask(VhostUserRequest.GetQueueNum);
        }
        Send(VhostUserRequest.SetOwner, [], []);
        Features = offered & (wanted | VirtioFeatures.Version1 | HasProtocolFeatures);
        SetWord(VhostUserRequest.SetFeatures, Features);
    }

    /// <summary>Reads the device's configuration space.</summary>
    /// <param name="offset">From its start.</param>
    /// <param name="length">At most 256 bytes.</param>
    internal byte[] GetConfig(int offset, int length)
    {
        byte[] payload = ConfigPayload(offset, new byte[length]);
        Send(VhostUserRequest.GetConfig, payload, []);
        ReadOnlySpan<byte> reply = Receive(VhostUserRequest.GetConfig);
        if (reply.Length != payload.Length)
            throw new VhostUserException($"the back-end has no {length} bytes of configuration at {offset}");
        return reply[MessageShape.ConfigHeaderBytes..].ToArray();
    }

    /// <summary>Writes the device's configuration space.</summary>
    internal void SetConfig(int offset, ReadOnlySpan<byte> data) => Do(VhostUserRequest.SetConfig, ConfigPayload(offset, data), []);

    /// <summary>Hands guest memory over, in place of what there was.</summary>
    /// <param name="memory">Its regions keep their files open for as long as the front-end uses them.</param>
    internal void ShareMemory(GuestMemory memory)
    {
        IReadOnlyList<GuestRegion> regions = memory.Regions;
        if (regions.Count > MessageShape.TableRegionsMax)
            throw new ArgumentException(
                $"guest memory has {regions.Count} regions: a table holds {MessageShape.TableRegionsMax}, add the others one by one");
        byte[] payload = new byte[MessageShape.MemoryTableHeaderBytes + (regions.Count * MessageShape.RegionBytes)];
        BinaryPrimitives.WriteInt32LittleEndian(payload, regions.Count);
        for (int i = 0; i < regions.Count; i++)
            WriteRegion(payload.AsSpan(MessageShape.MemoryTableHeaderBytes + (i * MessageShape.RegionBytes)), regions[i]);
        Do(VhostUserRequest.SetMemoryTable, payload, [.. regions.Select(region => region.File.Number)]);
    }

    /// <summary>Hands one more region over.</summary>
    internal void AddRegion(GuestRegion region)
    {
        Do(VhostUserRequest.AddMemoryRegion, SlotPayload(region), [region.File.Number]);
    }

    /// <summary>Takes a region back. When this returns, requests that were in flight may still touch it, new ones do not.</summary>
    internal void RemoveRegion(GuestRegion region)
    {
        Do(VhostUserRequest.RemoveMemoryRegion, SlotPayload(region), []);
    }

    /// <summary>Hands a ring over and starts it.</summary>
    /// <param name="index">Its number in the device.</param>
    /// <param name="queue">The driver's side, in memory that was shared.</param>
    /// <param name="baseIndex">Where the device goes on, as <see cref="StopRing"/> said; null for a fresh ring.</param>
    internal VhostUserRing StartRing(int index, DriverQueue queue, uint? baseIndex = null)
    {
        VhostUserRing ring = new(index, queue);
        StartRing(ring, baseIndex);
        return ring;
    }

    /// <summary>Hands over a ring that another back-end served before.</summary>
    /// <param name="ring">Goes on with its eventfds.</param>
    /// <param name="baseIndex">
    /// Where the device goes on: what <see cref="StopRing"/> said, or, after a crash, the used index; of a packed ring its in-flight log
    /// knows better.
    /// </param>
    internal void StartRing(VhostUserRing ring, uint? baseIndex)
    {
        (int index, DriverQueue queue) = (ring.Index, ring.Queue);
        SetRing(VhostUserRequest.SetVringNum, index, queue.Size);
        SetRing(VhostUserRequest.SetVringBase, index, baseIndex ?? queue.StartBase);
        Do(VhostUserRequest.SetVringAddress, AddressPayload(index, queue), []);
        Do(VhostUserRequest.SetVringCall, RingWord((uint)index), [ring.Call.Number]);
        Do(VhostUserRequest.SetVringKick, RingWord((uint)index), [ring.Kick.Number]);
        SetRing(VhostUserRequest.SetVringEnable, index, 1);
    }

    /// <summary>
    /// Asks the back-end for memory in which it notes what it has taken, so that one that is restarted loses nothing. Hand it in with
    /// <see cref="ShareInflight"/>, before rings start, to this back-end and to each that comes after it.
    /// </summary>
    /// <exception cref="VhostUserException">The back-end does not offer that.</exception>
    internal VhostUserInflight GetInflight(int queues, ushort queueSize)
    {
        byte[] payload = new byte[VhostUserInflight.PayloadBytes];
        new InflightGeometry(0, 0, (ushort)queues, queueSize).Write(payload);
        Send(VhostUserRequest.GetInflightFd, payload, []);
        ReadOnlySpan<byte> reply = Receive(VhostUserRequest.GetInflightFd);
        if (reply.Length != payload.Length || _reader.Fds.Count != 1)
            throw new VhostUserException("the back-end gave no memory for in-flight logs");
        return new VhostUserInflight(new OwnedFd(_reader.Fds.Take(0)), InflightGeometry.Read(reply));
    }

    /// <summary>Hands the in-flight logs in.</summary>
    internal void ShareInflight(VhostUserInflight inflight)
    {
        byte[] payload = new byte[VhostUserInflight.PayloadBytes];
        inflight.Geometry.Write(payload);
        Do(VhostUserRequest.SetInflightFd, payload, [inflight.File.Number]);
    }

    /// <summary>Enables or disables a ring that was handed over.</summary>
    internal void Enable(int index, bool enabled) => SetRing(VhostUserRequest.SetVringEnable, index, enabled ? 1u : 0u);

    /// <summary>Stops a ring and waits until nothing of it is in flight.</summary>
    /// <returns>Where it would go on.</returns>
    internal uint StopRing(int index)
    {
        Send(VhostUserRequest.GetVringBase, StatePayload(index, 0), []);
        return BinaryPrimitives.ReadUInt32LittleEndian(Receive(VhostUserRequest.GetVringBase)[sizeof(uint)..]);
    }

    /// <summary>Goes. The back-end stops the rings by itself.</summary>
    public void Dispose()
    {
        _reader.Dispose();
        _socket.Dispose();
    }

    /// <summary>Sends a request and waits for its acknowledgement, if the back-end gives one.</summary>
    /// <exception cref="VhostUserException">It refused.</exception>
    internal void Do(VhostUserRequest request, ReadOnlySpan<byte> payload, ReadOnlySpan<int> fds)
    {
        bool acknowledged = _protocol.HasFlag(ProtocolFeatures.ReplyAck);
        Send(request, payload, fds, acknowledged);
        if (acknowledged && BinaryPrimitives.ReadUInt64LittleEndian(Receive(request)) != 0)
            throw new VhostUserException($"the back-end refused {request}");
    }

    internal void Send(VhostUserRequest request, ReadOnlySpan<byte> payload, ReadOnlySpan<int> fds, bool needsReply = false)
    {
        byte[] message = new byte[VhostUserHeader.Bytes + payload.Length];
        VhostUserHeader.ForRequest((uint)request, payload.Length, needsReply).Write(message);
        payload.CopyTo(message.AsSpan(VhostUserHeader.Bytes));
        for (int sent = 0; sent < message.Length;)
        {
            int now = _socket.Send(message.AsSpan(sent), sent == 0 ? fds : [], out Errno errno);
            if (errno == Errno.Again && !_socket.WaitWritable(_timeoutMs))
                throw new VhostUserException($"the back-end does not read {request}");
            if (errno is not (Errno.None or Errno.Again)) throw new VhostUserException($"the back-end is gone, before {request}: {errno}");
            sent += now;
        }
    }

    /// <summary>The payload of the reply to a request, valid until the next; its descriptors are in <see cref="ReplyFds"/>.</summary>
    internal ReadOnlySpan<byte> Receive(VhostUserRequest request)
    {
        while (true)
        {
            switch (_reader.Read(_socket))
            {
                case ReadProgress.Message when _reader.Header.IsReply && _reader.Header.Request == (uint)request:
                    return _reader.Payload;
                case ReadProgress.Message:
                    throw new VhostUserException($"the back-end answered {(VhostUserRequest)_reader.Header.Request} to {request}");
                case ReadProgress.Incomplete when _socket.WaitReadable(_timeoutMs):
                    continue;
                case ReadProgress.Incomplete:
                    throw new VhostUserException($"the back-end does not answer {request}");
                default:
                    throw new VhostUserException($"the back-end ended the connection at {request}");
            }
        }
    }

    internal ReceivedFds ReplyFds => _reader.Fds;

    internal ulong Ask(VhostUserRequest request)
    {
        Send(request, [], []);
        ReadOnlySpan<byte> reply = Receive(request);
        return reply.Length == sizeof(ulong)
            ? BinaryPrimitives.ReadUInt64LittleEndian(reply) : throw new VhostUserException($"{reply.Length} bytes for {request}");
    }

    internal static byte[] AddressPayload(int index, DriverQueue queue)
    {
        byte[] payload = new byte[40];
        BinaryPrimitives.WriteInt32LittleEndian(payload, index);
        BinaryPrimitives.WriteUInt64LittleEndian(payload.AsSpan(8), UserAddress(queue.Memory, queue.DescriptorTable));
        BinaryPrimitives.WriteUInt64LittleEndian(payload.AsSpan(16), UserAddress(queue.Memory, queue.DeviceRing));
        BinaryPrimitives.WriteUInt64LittleEndian(payload.AsSpan(24), UserAddress(queue.Memory, queue.DriverRing));
        return payload;
    }

    internal static byte[] RingWord(uint index, bool withFd = true) => BitConverter.GetBytes((ulong)(withFd ? index : index | NoFdFlag));

    internal static byte[] StatePayload(int index, uint number)
    {
        byte[] payload = new byte[2 * sizeof(uint)];
        BinaryPrimitives.WriteInt32LittleEndian(payload, index);
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(sizeof(uint)), number);
        return payload;
    }

    internal static byte[] SlotPayload(GuestRegion region)
    {
        byte[] payload = new byte[MessageShape.SlotBytes];
        WriteRegion(payload.AsSpan(MessageShape.SlotBytes - MessageShape.RegionBytes), region);
        return payload;
    }

    private void SetWord(VhostUserRequest request, ulong word) => Do(request, BitConverter.GetBytes(word), []);

    private void SetRing(VhostUserRequest request, int index, uint number) => Do(request, StatePayload(index, number), []);

    private static byte[] ConfigPayload(int offset, ReadOnlySpan<byte> data)
    {
        byte[] payload = new byte[MessageShape.ConfigHeaderBytes + data.Length];
        BinaryPrimitives.WriteInt32LittleEndian(payload, offset);
        BinaryPrimitives.WriteInt32LittleEndian(payload.AsSpan(4), data.Length);
        data.CopyTo(payload.AsSpan(MessageShape.ConfigHeaderBytes));
        return payload;
    }

    /// <summary>Guest memory is known to the back-end by where it is mapped in this process, as QEMU does it.</summary>
    private static void WriteRegion(Span<byte> bytes, GuestRegion region)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, region.GuestAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], region.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[16..], (ulong)region.HostAddress);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[24..], region.Layout.FileOffset);
    }

    private static ulong UserAddress(GuestMemory memory, ulong guestAddress)
    {
        GuestRegion region = memory.Regions.First(region => guestAddress - region.GuestAddress < region.Length);
        return (ulong)region.HostAddress + (guestAddress - region.GuestAddress);
    }
}
