using Microsoft.Extensions.DependencyInjection;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;

namespace Examples;

/// <summary>The short pieces of code the README shows, compiled: what is there must stand here word for word.</summary>
internal static class Snippets
{
    internal static void WaitForAKick(CancellationToken stoppingToken)
    {
        using var reactor = new Reactor();
        var kick = new EventFd();
        Interest.Doorbell
            .WithFd(kick)
            .WithHandler((EventFd fd, IReactor ops) => Console.WriteLine("kicked"))
            .RegisterInto(reactor);
        RemoteEndpoint remote = reactor.Remote;            // hand this to any thread
        reactor.Run(stoppingToken);
    }

    internal static void HostByInjection(IServiceCollection services)
    {
        services.AddDeviceHost(host => host.Reactors = 2)
                .AddVirtioBlock("vda", disk => disk.Path = "disk.img")
                .AddSerial("ttyS0");
    }

    internal static void HostByHand()
    {
        using var host = new DeviceHost(new SimulatedBoard(), new BlockDevice("vda", RawImage.Open("disk.img")));
    }
}
