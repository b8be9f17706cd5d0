using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Vmm.Events;

namespace Vmm.Devices.Tests;

public abstract class DeviceHostRegistrationTests(PollerKind poller) : PollerSuite(poller), IDisposable
{
    private readonly ScratchImage _scratch = new(1 << 20);

    public void Dispose()
    {
        _scratch.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task An_application_hosts_its_devices_from_its_start_to_its_stop()
    {
        IHost application = Application(services => services.AddDeviceHost(host => host.Reactors = 2)
            .AddVirtioBlock("vda", disk => disk.Path = _scratch.Path)
            .AddDevice(_ => new EchoDevice())
            .AddSerial("ttyS0"));
        await application.StartAsync(TestContext.Current.CancellationToken);
        DeviceHost devices = application.Services.GetRequiredService<DeviceHost>();
        Assert.Equal(["vda", "echo"], devices.Devices.Select(hosted => hosted.Device.Name));
        Assert.Equal("ttyS0", Assert.Single(devices.Serials).Port.Name);
        Assert.Equal(2, devices.Reactors.Count);
        await application.StopAsync(TestContext.Current.CancellationToken);
        await ((IAsyncDisposable)application).DisposeAsync();
        // Unlocked again.
        RawImage.Open(_scratch.Path).Dispose();
    }

    [Fact]
    public async Task Devices_of_every_kind_are_named_in_a_line_each()
    {
        IHost application = Application(services => services.AddDeviceHost()
            .AddVirtioBlock("vda", disk => (disk.Path, disk.Direct) = (_scratch.Path, true))
            .AddVirtioEntropy("rng0")
            .AddVirtioBalloon("balloon0", targetBytes: 1 << 20)
            .AddVirtioConsole("console0", new ConsolePort("console", isConsole: true), new ConsolePort("agent"))
            .AddSerial("ttyS0"));
        await application.StartAsync(TestContext.Current.CancellationToken);
        DeviceHost devices = application.Services.GetRequiredService<DeviceHost>();
        Assert.Equal(["vda", "rng0", "balloon0", "console0"], devices.Devices.Select(hosted => hosted.Device.Name));
        Assert.Equal(1u << 20, ((BalloonDevice)devices.Devices[2].Device).TargetBytes);
        await application.StopAsync(TestContext.Current.CancellationToken);
        await ((IAsyncDisposable)application).DisposeAsync();
    }

    [Fact]
    public async Task Two_devices_of_one_name_are_told_at_the_start_whatever_they_are() => await RefusedAsync(
        services => services.AddDeviceHost().AddVirtioEntropy("x").AddVirtioBalloon("x"), "two devices are called 'x': give each a name of its own");

    [Theory]
    [InlineData("/tmp/vmm-no-such-image", "disk image '/tmp/vmm-no-such-image': no such file")]
    [InlineData("/tmp", "disk image '/tmp' is a directory")]
    [InlineData("", "disk 'vda' has no path: name its image")]
    public async Task A_disk_that_can_not_be_used_is_told_at_the_start(string path, string sentence) =>
        await RefusedAsync(services => services.AddDeviceHost().AddVirtioBlock("vda", disk => disk.Path = path), sentence);

    [Fact]
    public async Task Everything_that_is_wrong_is_told_at_once() => await RefusedAsync(
        services => services.AddDeviceHost(host => host.Reactors = 0)
            .AddVirtioBlock("vda", disk => disk.Path = _scratch.Path)
            .AddVirtioBlock("vdb", disk => disk.Path = _scratch.Path)
            .AddVirtioBlock("vdc", disk => { disk.Path = _scratch.Path; disk.QueueSize = 3; })
            .AddSerial("ttyS0")
            .AddSerial("ttyS1")
            .AddSerial("vda"),
        "a device host with 0 reactors",
        "disks 'vda' and 'vdb' are the same file",
        "disk 'vdc' has a queue size of 3",
        "serial ports 'ttyS0' and 'ttyS1' and 'vda' are both at port 0x3f8",
        "two devices are called 'vda'");

    [Fact]
    public async Task An_application_has_sockets_to_its_guest_while_it_runs()
    {
        string uds = $"{_scratch.Path}.vsock";
        IHost application = Application(services => services.AddDeviceHost().AddVsock("vsock0", vsock => (vsock.Cid, vsock.Uds) = (3, uds)).AddSerial("ttyS0"));
        await application.StartAsync(TestContext.Current.CancellationToken);
        Assert.True(File.Exists(uds));
        Assert.Equal("vsock0", Assert.Single(application.Services.GetRequiredService<DeviceHost>().Devices).Device.Name);
        await application.StopAsync(TestContext.Current.CancellationToken);
        await ((IAsyncDisposable)application).DisposeAsync();
        Assert.False(File.Exists(uds));
        await RefusedAsync(services => services.AddDeviceHost().AddVsock("vsock0", vsock => (vsock.Cid, vsock.Uds) = (2, uds)), "vsock 'vsock0' has context id 2");
    }

    [Fact]
    public async Task An_application_has_a_network_while_it_runs()
    {
        string socket = $"{_scratch.Path}.net";
        IHost application = Application(services => services.AddDeviceHost(host => host.Reactors = 2).AddVirtioNet("net0", net => net.Uds = socket));
        await application.StartAsync(TestContext.Current.CancellationToken);
        Assert.True(File.Exists(socket));
        Assert.IsType<NetDevice>(Assert.Single(application.Services.GetRequiredService<DeviceHost>().Devices).Device);
        await application.StopAsync(TestContext.Current.CancellationToken);
        await ((IAsyncDisposable)application).DisposeAsync();
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public async Task A_network_that_can_not_be_is_told_at_the_start() => await RefusedAsync(
        services => services.AddDeviceHost()
            .AddVirtioNet("net0", _ => { })
            .AddVirtioNet("net1", net => (net.Tap, net.Mtu) = ("tap0", 20))
            .AddVirtioNet("net2", net => (net.Uds, net.QueuePairs) = ("/tmp/s", 2))
            .AddVirtioNet("net2", net => { }),
        "network 'net0': name either its tap or its socket",
        "network 'net1' has an MTU of 20",
        "network 'net2' has 2 queue pairs",
        "two devices are called 'net2'");

    [Fact]
    public async Task A_hosted_service_may_ask_for_the_host_in_its_constructor()
    {
        using IHost application = Application(services =>
        {
            services.AddHostedService<Tenant>();
            services.AddDeviceHost().AddVirtioBlock("vda", disk => disk.Path = _scratch.Path);
        });
        await application.StartAsync(TestContext.Current.CancellationToken);
        await application.StopAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task The_host_may_be_resolved_before_the_application_starts()
    {
        using IHost application = Application(services => services.AddDeviceHost().AddVirtioBlock("vda", disk => disk.Path = _scratch.Path));
        Assert.Single(application.Services.GetRequiredService<DeviceHost>().Devices);
        await application.StartAsync(TestContext.Current.CancellationToken);
        await application.StopAsync(TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task Every_device_that_can_not_be_opened_is_reported_at_once() => await RefusedAsync(
        services => services.AddDeviceHost()
            .AddVirtioBlock("vda", disk => disk.Path = "/tmp/vmm-no-such-image")
            .AddVirtioBlock("vdb", disk => disk.Path = _scratch.Path)
            .AddVirtioBlock("vdc", disk => disk.Path = "/tmp"),
        "disk image '/tmp/vmm-no-such-image': no such file",
        "disk image '/tmp' is a directory");

    [Fact]
    public void A_second_host_in_one_application_is_refused()
    {
        ServiceCollection services = new();
        services.AddDeviceHost();
        Assert.Throws<InvalidOperationException>(() => services.AddDeviceHost());
    }

    private static async Task RefusedAsync(Action<IServiceCollection> register, params string[] sentences)
    {
        using IHost application = Application(register);
        OptionsValidationException refusal = await Assert.ThrowsAsync<OptionsValidationException>(() => application.StartAsync());
        foreach (string sentence in sentences) Assert.Contains(refusal.Failures, failure => failure.StartsWith(sentence, StringComparison.Ordinal));
        Assert.Equal(sentences.Length, refusal.Failures.Count());
    }

    private sealed class Tenant(DeviceHost host) : BackgroundService
    {
        protected override Task ExecuteAsync(CancellationToken stoppingToken)
        {
            Assert.Single(host.Devices);
            return Task.CompletedTask;
        }
    }

    private static IHost Application(Action<IServiceCollection> register)
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        register(builder.Services);
        builder.Services.Configure<DeviceHostOptions>(options => options.Poller = Poller);
        return builder.Build();
    }
}

public sealed class DeviceHostRegistrationOnEpollTests() : DeviceHostRegistrationTests(PollerKind.Epoll);

public sealed class DeviceHostRegistrationOnIoRingTests() : DeviceHostRegistrationTests(PollerKind.IoRing);
