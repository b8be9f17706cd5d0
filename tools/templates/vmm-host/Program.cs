using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.VhostUser;

HostApplicationBuilder builder = Host.CreateApplicationBuilder(args);
IConfiguration configuration = builder.Configuration;
builder.Services.AddVhostUserServer().AddVirtio<DiskSpec>("disk0", configuration["Socket"]!);
builder.Services.Configure<VhostUserServerOptions>(configuration.GetSection("Server"));
builder.Services.Configure<DiskSpec>("disk0", configuration.GetSection("Disk"));
builder.Services.AddHostedService<Report>();
await builder.Build().RunAsync();

/// <summary>Says what is served, once the server runs.</summary>
internal sealed class Report(VhostUserServer server, IConfiguration configuration, ILogger<Report> logger) : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken)
    {
        foreach (VhostUserBackend backend in server.Backends)
            logger.LogInformation("serving {Device} at {Socket}", backend.Device.Name, configuration["Socket"]);
        return Task.CompletedTask;
    }
}
