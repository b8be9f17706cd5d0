using System.Buffers.Binary;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>A guest's block driver over vhost-user: memory, one ring, requests one at a time.</summary>
internal sealed class DiskDriver : IDisposable
{
    internal const ulong MemoryBytes = 1 << 20;

    private const uint Read = 0, Write = 1;
    private const uint HeaderBytes = 16;

    private readonly GuestAllocator _allocator = new(0, MemoryBytes);
    private readonly ulong _header, _status, _data;

    internal DiskDriver(VhostUserFrontend frontend, int ring = 0, GuestMemory? memory = null, ushort ringSize = 16)
    {
        Memory = memory ?? GuestMemory.Create(MemoryBytes);
        Frontend = frontend;
        if (frontend.Features == 0) frontend.Negotiate(VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors);
        frontend.ShareMemory(Memory);
        Queue = DriverQueue.Create(Memory, _allocator, ringSize, frontend.Features);
        Ring = frontend.StartRing(ring, Queue);
        _header = _allocator.Allocate(HeaderBytes);
        _status = _allocator.Allocate(1);
        _data = _allocator.Allocate(4096);
    }

    internal VhostUserFrontend Frontend { get; }

    internal GuestMemory Memory { get; }

    internal DriverQueue Queue { get; }

    internal VhostUserRing Ring { get; private set; }

    /// <summary>Guest addresses a device writes to when it carries out a read: data, status, used ring.</summary>
    internal ulong[] WrittenByARead => [_data, _status, Queue.DeviceRing];

    /// <summary>Reads 512 bytes.</summary>
    internal byte[] ReadSector(ulong sector)
    {
        Assert.Equal(0, Request(Read, sector, [], [new GuestBuffer(_data, 512)]));
        byte[] data = new byte[512];
        Assert.True(Memory.TryRead(_data, data));
        return data;
    }

    /// <summary>Writes 512 bytes.</summary>
    internal void WriteSector(ulong sector, byte fill)
    {
        Assert.True(Memory.TryWrite(_data, Enumerable.Repeat(fill, 512).ToArray()));
        Assert.Equal(0, Request(Write, sector, [new GuestBuffer(_data, 512)], []));
    }

    /// <summary>Writes sector 0 and what follows it from any guest memory.</summary>
    /// <returns>The status of the request.</returns>
    internal byte WriteFrom(ulong address, uint bytes) => Request(Write, 0, [new GuestBuffer(address, bytes)], []);

    /// <summary>Starts the ring again where it stopped.</summary>
    internal void Restart(uint? baseIndex)
    {
        VhostUserRing before = Ring;
        Ring = Frontend.StartRing(before.Index, Queue, baseIndex);
        before.Dispose();
    }

    public void Dispose()
    {
        Frontend.Dispose();
        Ring.Dispose();
        Queue.Dispose();
        Memory.Dispose();
    }

    /// <summary>Publishes a write of 512 bytes and does not wait for it.</summary>
    internal void SubmitWrite(ulong sector)
    {
        Submit(Write, sector, [new GuestBuffer(_data, 512)], []);
    }

    /// <summary>Waits, without the call, until the device has used a chain.</summary>
    internal void WaitUsed()
    {
        Assert.True(SpinWait.SpinUntil(() => Queue.HasUsed, TimeSpan.FromSeconds(30)), "the request is not done");
        Assert.True(Queue.TryCollect(out _));
    }

    private byte Request(uint type, ulong sector, GuestBuffer[] readable, GuestBuffer[] writable)
    {
        Submit(type, sector, readable, writable);
        WaitForCall();
        byte[] status = new byte[1];
        Assert.True(Memory.TryRead(_status, status));
        return status[0];
    }

    private void Submit(uint type, ulong sector, GuestBuffer[] readable, GuestBuffer[] writable)
    {
        byte[] header = new byte[HeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        Assert.True(Memory.TryWrite(_header, header));
        Assert.True(Memory.TryWrite(_status, [0xff]));
        Assert.True(Queue.TryAdd([new GuestBuffer(_header, HeaderBytes), .. readable], [.. writable, new GuestBuffer(_status, 1)], out _));
        Ring.PublishAndKick();
    }

    private void WaitForCall()
    {
        using Reactor waiter = new();
        Subscription<EventFd> call = Interest.Readable.WithFd(Ring.Call.Duplicate()).WithHandler(fd => fd.TryRead(out _)).RegisterInto(waiter);
        while (Queue.EnableInterrupts() == false && !Queue.HasUsed)
            Assert.True(waiter.RunOnce(TimeSpan.FromSeconds(30)) > 0, "no call came");
        waiter.Remove(call);
        Assert.True(Queue.TryCollect(out _));
    }
}
