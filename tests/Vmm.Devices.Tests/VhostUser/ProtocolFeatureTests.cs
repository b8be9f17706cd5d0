using System.Buffers.Binary;
using System.Globalization;
using Vmm.Devices.Native;
using Vmm.Devices.Simulation;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Devices.Tests.VhostUser;

/// <summary>What is offered beside rings and memory works: status, reset, configuration, MTU, the dirty log.</summary>
public abstract class ProtocolFeatureTests(PollerKind poller) : PollerSuite(poller)
{
    private const ulong LogAll = 1UL << 26;
    private const int Page = 4096;

    [Fact]
    public void Only_what_is_implemented_is_offered()
    {
        using ServedDevice disk = new(new ScriptedDevice(VirtioDeviceType.Block));
        using ServedDevice network = new(new ScriptedDevice(VirtioDeviceType.Network));
        using VhostUserFrontend ofDisk = disk.Connect(), ofNetwork = network.Connect();
        // MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG, INFLIGHT_SHMFD, RESET_DEVICE, CONFIGURE_MEM_SLOTS, STATUS; never in-band notifications (14).
        const ulong Everywhere = 0x1 | 0x2 | 0x8 | 0x20 | 0x200 | 0x1000 | 0x2000 | 0x8000 | 0x10000;
        Assert.Equal(Everywhere, ofDisk.Ask(VhostUserRequest.GetProtocolFeatures));
        Assert.Equal(Everywhere | 0x10, ofNetwork.Ask(VhostUserRequest.GetProtocolFeatures));
    }

    [Fact]
    public void A_status_is_kept_until_the_device_is_reset()
    {
        ScriptedDevice device = new(VirtioDeviceType.Block);
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        frontend.Do(VhostUserRequest.SetStatus, BitConverter.GetBytes(15UL), []);
        Assert.Equal(15UL, frontend.Ask(VhostUserRequest.GetStatus));
        using DiskDriver driver = new(frontend);
        Assert.Equal(1, device.Activations);
        frontend.Do(VhostUserRequest.SetStatus, BitConverter.GetBytes(0UL), []);
        Assert.Equal(0UL, frontend.Ask(VhostUserRequest.GetStatus));
        Assert.Equal(1, device.Resets);
        frontend.Do(VhostUserRequest.SetStatus, BitConverter.GetBytes((ulong)byte.MaxValue), []);
        Assert.Throws<VhostUserException>(() => frontend.Do(VhostUserRequest.SetStatus, BitConverter.GetBytes(256UL), []));
    }

    [Fact]
    public void A_reset_stops_every_ring_and_the_device_starts_afresh()
    {
        ScriptedDevice device = new(VirtioDeviceType.Block);
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver driver = new(frontend);
        frontend.Do(VhostUserRequest.ResetDevice, [], []);
        Assert.Equal((1, 1, 0), (device.Activations, device.Resets, device.Running));
        driver.Restart(0);
        Assert.Equal((2, 1, 1), (device.Activations, device.Resets, device.Running));
    }

    [Fact]
    public void A_ring_that_was_enabled_before_a_reset_is_not_after_it()
    {
        ScriptedDevice device = new(VirtioDeviceType.Block);
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver driver = new(frontend);
        frontend.Do(VhostUserRequest.ResetDevice, [], []);
        // All that a ring needs, but for being enabled.
        frontend.Do(VhostUserRequest.SetVringNum, VhostUserFrontend.StatePayload(0, driver.Queue.Size), []);
        frontend.Do(VhostUserRequest.SetVringBase, VhostUserFrontend.StatePayload(0, 0), []);
        frontend.Do(VhostUserRequest.SetVringAddress, VhostUserFrontend.AddressPayload(0, driver.Queue), []);
        frontend.Do(VhostUserRequest.SetVringKick, VhostUserFrontend.RingWord(0), [driver.Ring.Kick.Number]);
        Assert.Equal(0, device.Running);
        frontend.Enable(0, true);
        Assert.Equal(1, device.Running);
    }

    [Fact]
    public void A_region_that_holds_nothing_of_a_ring_but_its_used_part_stops_the_ring_when_it_goes()
    {
        const ulong half = DiskDriver.MemoryBytes / 2;
        // The table of 4 descriptors and the available ring end where the second region begins.
        const ulong ringStart = half - 128;
        ScriptedDevice device = new(VirtioDeviceType.Block);
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        GuestRegion upper = GuestRegion.Create(half, half);
        using GuestMemory memory = GuestMemory.Create(half);
        Assert.True(memory.TryAdd(upper, out _));
        frontend.ShareMemory(memory);
        using DriverQueue queue = DriverQueue.Create(memory, new GuestAllocator(ringStart, half), 4, frontend.Features);
        Assert.InRange(queue.DriverRing, ringStart, half - 1);
        Assert.InRange(queue.DeviceRing, half, ulong.MaxValue);
        using VhostUserRing ring = frontend.StartRing(0, queue);
        Assert.Equal(1, device.Running);
        frontend.RemoveRegion(upper);
        Assert.Equal(0, device.Running);
    }

    [Fact]
    public void A_guest_that_was_only_paused_keeps_its_device_and_a_new_one_does_not_get_it()
    {
        ScriptedDevice device = new(VirtioDeviceType.Block);
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver driver = new(frontend);
        driver.SubmitWrite(0);
        driver.WaitUsed();
        driver.Restart(frontend.StopRing(0));
        Assert.Equal((1, 0), (device.Activations, device.Resets));
        // Linux after the firmware: a fresh ring, no other message.
        frontend.StopRing(0);
        driver.Restart(0);
        Assert.Equal((2, 1), (device.Activations, device.Resets));
    }

    [Fact]
    public void A_base_is_told_only_when_nothing_is_in_flight()
    {
        ScriptedDevice device = new(VirtioDeviceType.Block) { HoldsRequests = true };
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver driver = new(frontend);
        driver.SubmitWrite(0);
        driver.SubmitWrite(1);
        Assert.True(SpinWait.SpinUntil(() => device.Held == 2, TimeSpan.FromSeconds(30)));
        frontend.Send(VhostUserRequest.GetVringBase, VhostUserFrontend.StatePayload(0, 0), []);
        Assert.False(frontend.Socket.WaitReadable(50));
        served.Remote.Post(_ => device.Release(1));
        Assert.False(frontend.Socket.WaitReadable(50));
        Assert.False(driver.Queue.HasUsed && device.Held == 0);
        served.Remote.Post(_ => device.Release(1));
        Assert.Equal(2u, BinaryPrimitives.ReadUInt32LittleEndian(frontend.Receive(VhostUserRequest.GetVringBase)[4..]));
        driver.WaitUsed();
        driver.WaitUsed();
    }

    [Fact]
    public void Configuration_is_written_where_the_driver_may_and_everywhere_in_a_migration()
    {
        ScriptedDevice device = new(VirtioDeviceType.Block);
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        frontend.SetConfig(ScriptedDevice.WritableOffset, [7]);
        Assert.Equal([7], frontend.GetConfig(ScriptedDevice.WritableOffset, 1));
        Assert.Equal((ScriptedDevice.WritableOffset, 1), device.LastConfigWrite);
        Assert.Throws<VhostUserException>(() => frontend.SetConfig(0, [7]));
        Assert.Throws<VhostUserException>(() => frontend.SetConfig(ScriptedDevice.ConfigBytes - 1, [1, 2]));
        byte[] migration = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 42];
        frontend.Do(VhostUserRequest.SetConfig, migration, []);
        Assert.Equal([42], frontend.GetConfig(0, 1));
        // Beyond its end the space is zero; beyond what a message carries there is nothing.
        Assert.Equal(new byte[8], frontend.GetConfig(200, 8));
    }

    [Fact]
    public void An_mtu_reaches_the_configuration()
    {
        using ServedDevice served = new(new ScriptedDevice(VirtioDeviceType.Network));
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        frontend.Do(VhostUserRequest.SetNetMtu, BitConverter.GetBytes(1400UL), []);
        Assert.Equal(BitConverter.GetBytes((ushort)1400), frontend.GetConfig(10, 2));
        foreach (ulong wrong in new ulong[] { 0, 67, 65536, ulong.MaxValue })
            Assert.Throws<VhostUserException>(() => frontend.Do(VhostUserRequest.SetNetMtu, BitConverter.GetBytes(wrong), []));
    }

    [Fact]
    public void Writes_are_logged_while_the_front_end_migrates_the_guest()
    {
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice());
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver disk = new(frontend);
        using GuestRegion log = GuestRegion.Create(0, Page);
        byte[] bits = [.. BitConverter.GetBytes((ulong)Page), .. BitConverter.GetBytes(0UL)];
        Assert.Equal(0, disk.ReadSector(0)[0]);
        frontend.Send(VhostUserRequest.SetLogBase, bits, [log.File.Number]);
        frontend.Receive(VhostUserRequest.SetLogBase);
        Assert.All(ReadAll(log), value => Assert.Equal(0, value));

        // On, while the ring runs.
        frontend.Do(VhostUserRequest.SetFeatures, BitConverter.GetBytes(frontend.Features | LogAll), []);
        disk.ReadSector(0);
        byte[] dirty = ReadAll(log);
        foreach (ulong address in disk.WrittenByARead)
            Assert.True((dirty[address / Page / 8] & (1 << (int)(address / Page % 8))) != 0, $"the page of 0x{address:x} is not logged");

        // And off.
        frontend.Do(VhostUserRequest.SetFeatures, BitConverter.GetBytes(frontend.Features), []);
        using GuestRegion second = GuestRegion.Create(0, Page);
        frontend.Send(VhostUserRequest.SetLogBase, bits, [second.File.Number]);
        frontend.Receive(VhostUserRequest.SetLogBase);
        disk.ReadSector(0);
        Assert.All(ReadAll(second), value => Assert.Equal(0, value));
        // Other features can't change under a ring that runs.
        Assert.Throws<VhostUserException>(() => frontend.Do(VhostUserRequest.SetFeatures, BitConverter.GetBytes(frontend.Features & ~VirtioFeatures.EventIndex), []));
    }

    [Fact]
    public void Another_memory_table_is_in_force_only_when_nothing_is_in_flight_in_the_old_one()
    {
        ScriptedDevice device = new(VirtioDeviceType.Block) { HoldsRequests = true };
        using ServedDevice served = new(device);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver driver = new(frontend);
        driver.SubmitWrite(0);
        Assert.True(SpinWait.SpinUntil(() => device.Held == 1, TimeSpan.FromSeconds(30)));
        byte[] slot = VhostUserFrontend.SlotPayload(driver.Memory.Regions[0]);
        byte[] table = [1, 0, 0, 0, 0, 0, 0, 0, .. slot[8..]];
        frontend.Send(VhostUserRequest.SetMemoryTable, table, [driver.Memory.Regions[0].File.Number], needsReply: true);
        Assert.True(SpinWait.SpinUntil(() => device.Running == 0, TimeSpan.FromSeconds(30)), "the ring was not brought to rest");
        Assert.False(frontend.Socket.WaitReadable(50));
        served.Remote.Post(_ => device.Release(1));
        Assert.Equal(0UL, BinaryPrimitives.ReadUInt64LittleEndian(frontend.Receive(VhostUserRequest.SetMemoryTable)));
        driver.WaitUsed();
        // And the ring started again by itself.
        Assert.True(SpinWait.SpinUntil(() => device.Running == 1, TimeSpan.FromSeconds(30)));
        driver.SubmitWrite(1);
        Assert.True(SpinWait.SpinUntil(() => device.Held == 1, TimeSpan.FromSeconds(30)));
        served.Remote.Post(_ => device.Release(1));
        driver.WaitUsed();
    }

    [Fact]
    public async Task An_old_log_stays_mapped_until_every_thread_that_serves_a_ring_has_let_it_go()
    {
        TimeSpan patience = TimeSpan.FromSeconds(30);
        using TemporaryImage image = new(sectors: 8);
        using ServedDevice served = new(image.OpenDevice(), queueReactors: 1);
        using VhostUserFrontend frontend = HostileFrontEndTests.NegotiatedWith(served);
        using DiskDriver disk = new(frontend);
        using GuestRegion first = GuestRegion.Create(0, Page), second = GuestRegion.Create(0, Page);
        byte[] bits = [.. BitConverter.GetBytes((ulong)Page), .. BitConverter.GetBytes(0UL)];
        frontend.Send(VhostUserRequest.SetLogBase, bits, [first.File.Number]);
        frontend.Receive(VhostUserRequest.SetLogBase);
        Assert.Equal(2, MappingsOf(first));

        using ManualResetEventSlim isBusy = new(), goesOn = new();
        served.Backend.Options.QueueReactors[0].Post(_ =>
        {
            isBusy.Set();
            goesOn.Wait();
        });
        Assert.True(isBusy.Wait(patience));
        try
        {
            frontend.Send(VhostUserRequest.SetLogBase, bits, [second.File.Number]);
            Assert.True(SpinWait.SpinUntil(() => MappingsOf(second) == 2, patience));
            // The turn in which the request was carried out is over when the session's thread runs something else.
            TaskCompletionSource turn = new(TaskCreationOptions.RunContinuationsAsynchronously);
            served.Remote.Post(_ => turn.SetResult());
            await turn.Task.WaitAsync(patience, TestContext.Current.CancellationToken);
            Assert.Equal(2, MappingsOf(first));
        }
        finally
        {
            goesOn.Set();
        }
        frontend.Receive(VhostUserRequest.SetLogBase);
        Assert.True(SpinWait.SpinUntil(() => MappingsOf(first) == 1, patience), "the old log stays mapped");
    }

    /// <summary>How often a region's file is mapped into this process: once by its maker, once by each that it was handed to.</summary>
    private static int MappingsOf(GuestRegion region)
    {
        Assert.Equal(Errno.None, MemoryCalls.Stat(region.File.Number, out FileStatus status));
        return File.ReadLines("/proc/self/maps").Count(line =>
            line.Contains("memfd:", StringComparison.Ordinal) && line.Split(' ')[4] == status.Inode.ToString(CultureInfo.InvariantCulture));
    }

    private static byte[] ReadAll(GuestRegion region)
    {
        using FileStream file = new($"/proc/self/fd/{region.File.Number}", FileMode.Open, FileAccess.Read);
        byte[] bytes = new byte[region.Length];
        file.ReadExactly(bytes);
        return bytes;
    }
}

public sealed class ProtocolFeatureOnEpollTests() : ProtocolFeatureTests(PollerKind.Epoll);

public sealed class ProtocolFeatureOnIoRingTests() : ProtocolFeatureTests(PollerKind.IoRing);
