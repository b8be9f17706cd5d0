using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Vmm.Devices;
using Vmm.Devices.Simulation;
using Vmm.Events;
using Vmm.Examples.Guide;

namespace Examples;

/// <summary>The short pieces of code that the README and the guides show, compiled: what is there must stand here word for word.</summary>
internal static class Snippets
{
    internal static void WaitForAKick(CancellationToken stoppingToken)
    {
        using var reactor = new Reactor();
        var kick = new EventFd();
        Interest.Kick
            .WithFd(kick)
            .WithHandler((EventFd fd, IReactor ops) => Console.WriteLine("kicked"))
            .RegisterInto(reactor);
        RemoteEndpoint remote = reactor.Remote;            // hand this to any thread
        reactor.Run(stoppingToken);
    }

    internal static async Task RunHostedMachine(string[] args)
    {
        HostApplicationBuilder builder = Host.CreateApplicationBuilder(args);
        builder.Services.AddMachine("disk.img", Console.WriteLine);
        await builder.Build().RunAsync();
    }

    /// <summary>Run by <see cref="GuideTests"/>.</summary>
    internal static void PostALetter()
    {
        MailboxDevice mailbox = new("mailbox");
        using SimulatedGuest guest = SimulatedGuest.For(mailbox);
        DriverRequest buffer = guest.Queue(0).Add(writable: [16]);
        guest.Kick(0).RunUntilIdle();
        Assert.False(buffer.IsUsed);
        Assert.True(mailbox.TryPost("hello"u8.ToArray()));
        guest.RunUntilIdle();
        Assert.Equal("hello"u8.ToArray(), buffer.Written);
    }
}
