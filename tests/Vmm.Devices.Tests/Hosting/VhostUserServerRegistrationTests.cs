using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Vmm.Devices.Tests.VhostUser;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices.Tests;

/// <summary>A vhost-user server that a container makes.</summary>
public sealed class VhostUserServerRegistrationTests : IDisposable
{
    private readonly ScratchImage _scratch = new(1 << 20);

    private string Socket => $"{_scratch.Path}.s";

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task An_application_serves_its_devices_from_its_start_to_its_stop()
    {
        using IHost application = Application(builder => builder.Services.AddVhostUserServer(server => server.Reactors = 2)
            .AddVirtioBlock("disk0", Socket, disk => disk.Path = _scratch.Path)
            .AddVirtio<EntropySpec>("rng0", $"{Socket}.rng")
            .AddDevice($"{Socket}.echo", _ => new EchoDevice()));
        await application.StartAsync(TestContext.Current.CancellationToken);
        using (DiskDriver driver = new(VhostUserFrontend.Connect(Socket)))
        {
            driver.WriteSector(3, 0x5a);
            Assert.All(driver.ReadSector(3), value => Assert.Equal(0x5a, value));
        }
        VhostUserServer server = application.Services.GetRequiredService<VhostUserServer>();
        Assert.Equal(["disk0", "rng0", "echo"], server.Backends.Select(backend => backend.Device.Name));
        await application.StopAsync(TestContext.Current.CancellationToken);
        Assert.False(File.Exists(Socket));
        // Unlocked again.
        RawImage.Open(_scratch.Path).Dispose();
    }

    [Fact]
    public async Task Server_and_devices_are_bound_to_a_configuration()
    {
        using IHost application = Application(builder =>
        {
            builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
            {
                ["server:Reactors"] = "3",
                ["disks:disk0:Path"] = _scratch.Path,
                ["disks:disk0:ReadOnly"] = "true",
                ["disks:disk0:Queues"] = "5",
                ["disks:disk0:Engine"] = "Synchronous",
            });
            builder.Services.AddVhostUserServer().AddVirtio<DiskSpec>("disk0", Socket);
            builder.Services.Configure<VhostUserServerOptions>(builder.Configuration.GetSection("server"));
            builder.Services.Configure<DiskSpec>("disk0", builder.Configuration.GetSection("disks:disk0"));
        });
        await application.StartAsync(TestContext.Current.CancellationToken);
        Assert.Equal(3, application.Services.GetRequiredService<IOptions<VhostUserServerOptions>>().Value.Reactors);
        VirtioDevice disk = Assert.Single(application.Services.GetRequiredService<VhostUserServer>().Backends).Device;
        Assert.Equal(5, disk.Queues.Count);
        Assert.NotEqual(0UL, disk.Features & BlockProtocol.FeatureReadOnly);
        await application.StopAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task A_hosted_service_may_ask_for_the_server_in_its_constructor()
    {
        using IHost application = Application(builder =>
        {
            builder.Services.AddHostedService<Tenant>();
            builder.Services.AddVhostUserServer().AddVirtioBlock("disk0", Socket, disk => disk.Path = _scratch.Path);
        });
        await application.StartAsync(TestContext.Current.CancellationToken);
        await application.StopAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task What_is_wrong_is_reported_at_once_and_nothing_stays_open()
    {
        await RefusedAsync(builder => builder.Services.AddVhostUserServer(server => server.Reactors = 0)
                .AddVirtioBlock("a", Socket, disk => disk.Path = "")
                .AddVirtioBlock("b", $"{Socket}2", disk => disk.Path = _scratch.Path)
                .AddVirtioBlock("b", $"{Socket}3", disk => disk.Path = _scratch.Path),
            "0 reactors", "two devices are called 'b'", "disk 'a' has no path");
        await RefusedAsync(builder => builder.Services.AddVhostUserServer()
                .AddVirtioBlock("a", Socket, disk => disk.Path = "/tmp/vmm-no-such-image")
                .AddVirtioBlock("b", $"{Socket}2", disk => disk.Path = _scratch.Path),
            "disk image '/tmp/vmm-no-such-image': no such file");
        Assert.False(File.Exists($"{Socket}2"));
        RawImage.Open(_scratch.Path).Dispose();
    }

    [Fact]
    public void A_second_server_in_one_application_is_refused()
    {
        ServiceCollection services = new();
        services.AddVhostUserServer();
        Assert.Throws<InvalidOperationException>(() => services.AddVhostUserServer());
    }

    private static async Task RefusedAsync(Action<HostApplicationBuilder> register, params string[] sentences)
    {
        using IHost application = Application(register);
        OptionsValidationException refusal = await Assert.ThrowsAsync<OptionsValidationException>(() => application.StartAsync());
        foreach (string sentence in sentences) Assert.Contains(refusal.Failures, failure => failure.StartsWith(sentence, StringComparison.Ordinal));
        Assert.Equal(sentences.Length, refusal.Failures.Count());
    }

    private static IHost Application(Action<HostApplicationBuilder> register)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        register(builder);
        return builder.Build();
    }

    private sealed class Tenant(VhostUserServer server) : BackgroundService
    {
        protected override Task ExecuteAsync(CancellationToken stoppingToken)
        {
            Assert.Single(server.Backends);
            return Task.CompletedTask;
        }
    }
}
