using Vmm.Devices.Kvm;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>The whole way of a kick and back: guest code drives a virtqueue of one of our transports.</summary>
public sealed class KvmVirtQueueTests
{
    private const uint Device = 0xd000_0000;
    private const uint Gsi = 5;

    [KvmFact]
    public async Task A_guest_sends_requests_by_ioeventfd_and_hears_of_them_by_irqfd()
    {
        const int Requests = 500;
        using ReactorThread reactor = new();
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using CountingDevice device = new();
        using KvmEdgeInterrupt interrupt = new(guest.Vm, Gsi);
        using VirtioMmioTransport transport = new(device, guest.GuestMemory, interrupt, reactor.Remote);
        guest.Mmio.Add(Device, VirtioMmioTransport.Length, transport);
        new KvmIoEventFds(guest.Vm).Add(Device + MmioRegister.QueueNotify, sizeof(uint), 0, transport.KickOf(0));
        VirtioGuestCode.PrepareRing(guest.Memory);
        guest.LoadWithInterrupt(Gsi, level: false, c => VirtioGuestCode.Acknowledge(c, Device), c =>
        {
            VirtioGuestCode.BringUp(c, Device);
            VirtioGuestCode.SendRequests(c, Device, Requests);
            c.cli();
            c.@out(0x99, al);
            KvmGuest.Spin(c);
        });
        const int WritesToBringUp = 15;
        RecordingDevice finished = new();
        guest.Port.Add(0x99, 1, finished);
        guest.Start();
        Assert.True(SpinWait.SpinUntil(() => finished.Writes.Count > 0, KvmGuest.Watchdog), $"{device.Served} requests were served");

        Assert.Equal((ulong)Requests, device.Served);
        Assert.Equal((ulong)Requests - 1, BitConverter.ToUInt64(guest.Memory[VirtioGuestCode.Buffer..]));
        uint interrupts = guest.DataWord();
        Assert.InRange(interrupts, 1u, (uint)Requests);
        // What exits: bringing the device up, and the acknowledgement of each interrupt. No kick.
        Assert.Equal(WritesToBringUp + interrupts, guest.Thread.ExitCount(VcpuExitKind.MmioWrite));
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
        await transport.StopAsync();
    }

    [KvmFact]
    public async Task A_transport_that_is_paused_between_requests_serves_them_all()
    {
        const int Requests = 300;
        using ReactorThread reactor = new();
        using KvmGuest guest = KvmGuest.WithInterrupts();
        using CountingDevice device = new();
        using KvmEdgeInterrupt interrupt = new(guest.Vm, Gsi);
        using VirtioMmioTransport transport = new(device, guest.GuestMemory, interrupt, reactor.Remote);
        guest.Mmio.Add(Device, VirtioMmioTransport.Length, transport);
        new KvmIoEventFds(guest.Vm).Add(Device + MmioRegister.QueueNotify, sizeof(uint), 0, transport.KickOf(0));
        VirtioGuestCode.PrepareRing(guest.Memory);
        guest.LoadWithInterrupt(Gsi, level: false, c => VirtioGuestCode.Acknowledge(c, Device), c =>
        {
            VirtioGuestCode.BringUp(c, Device);
            VirtioGuestCode.SendRequests(c, Device, Requests);
            KvmGuest.Spin(c);
        });
        guest.Start();
        for (uint round = 1; round <= 5; round++)
        {
            ulong wanted = round * Requests / 10;
            Assert.True(SpinWait.SpinUntil(() => device.Served >= wanted, KvmGuest.Watchdog), $"{device.Served} of {wanted} requests were served");
            guest.Thread.RequestPause();
            Assert.True(guest.Thread.WaitUntilPaused(KvmGuest.Watchdog));
            await transport.PauseAsync().WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken);
            ulong served = device.Served;
            // A kick in between is kept for later.
            transport.KickOf(0).Signal();
            await reactor.Remote.InvokeAsync(_ => true).WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken);
            Assert.Equal(served, device.Served);
            await transport.ResumeAsync().WaitAsync(KvmGuest.Watchdog, TestContext.Current.CancellationToken);
            guest.Thread.Resume();
        }
        Assert.True(SpinWait.SpinUntil(() => device.Served == Requests, KvmGuest.Watchdog), $"{device.Served} requests were served");
        guest.Thread.RequestStop();
        Assert.Equal(VcpuEndReason.Stopped, (await guest.End()).Reason);
        await transport.StopAsync();
    }
}
