using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Vmm.Devices;

namespace Vmm.Examples.Guide;

/// <summary>Guide 4: the devices of a machine, made by dependency injection, and a service that uses them.</summary>
public static class HostedMachine
{
    public static IServiceCollection AddMachine(this IServiceCollection services, string image, Action<string> report)
    {
        services.AddDeviceHost(host => host.Reactors = 2)
            .AddVirtioBlock("vda", disk => disk.Path = image)
            .AddDevice(_ => new MailboxDevice("mailbox"));
        return services.AddHostedService(provider => new Postman(provider.GetRequiredService<DeviceHost>(), report));
    }

    /// <summary>Posts a letter when the host has started, and says what there is.</summary>
    private sealed class Postman(DeviceHost host, Action<string> report) : BackgroundService
    {
        protected override Task ExecuteAsync(CancellationToken stoppingToken)
        {
            foreach (HostedDevice hosted in host.Devices) report($"{hosted.Device.Name}, {hosted.Device.Queues.Count} queues");
            MailboxDevice mailbox = host.Devices.Select(hosted => hosted.Device).OfType<MailboxDevice>().Single();
            report(mailbox.TryPost("hello"u8.ToArray()) ? "posted" : "full");
            return Task.CompletedTask;
        }
    }
}
