using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Vmm.Devices.Kvm;

namespace Vmm.Devices;

/// <summary>Registration of a <see cref="DeviceHost"/> with Microsoft.Extensions.DependencyInjection.</summary>
public static class DeviceHostServiceCollectionExtensions
{
    /// <summary>
    /// Registers a device host that lives as long as the application: made when it starts, brought to rest when it stops. What is wrong
    /// with its options, or with those of its devices, is reported at the start, each in a sentence, by an
    /// <see cref="OptionsValidationException"/>.
    /// </summary>
    /// <param name="services">Where to register.</param>
    /// <param name="configure">Configures the host itself.</param>
    /// <returns>Names the devices.</returns>
    /// <exception cref="InvalidOperationException">A device host is registered already.</exception>
    public static DeviceHostBuilder AddDeviceHost(this IServiceCollection services, Action<DeviceHostOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        if (services.Any(service => service.ServiceType == typeof(DeviceHost)))
            throw new InvalidOperationException("a device host is registered already: an application has one");
        DeviceHostPlan plan = new();
        services.AddSingleton(plan);
        services.AddSingleton<IValidateOptions<DeviceHostOptions>, DeviceHostValidation>();
        services.AddOptions<DeviceHostOptions>()
            .Configure<IServiceProvider>((options, provider) =>
            {
                if (provider.GetService<ILoggerFactory>() is { } logging) options.Logging = logging;
            })
            .Configure(configure ?? (_ => { }))
            .ValidateOnStart();
        services.AddSingleton(provider => DeviceSteps.Take(
            plan.Steps, provider, new DeviceHost(plan.Board(provider), provider.GetRequiredService<IOptions<DeviceHostOptions>>().Value)));
        services.AddHostedService<DeviceHostLifetime>();
        return new DeviceHostBuilder(services, plan);
    }

    /// <summary>
    /// Registers a KVM machine with the devices of its host. It starts with the application, and stops with it; when its guest ends, the
    /// application stops. How it ended is logged, and <see cref="KvmMachine"/> is registered for those who pause it.
    /// </summary>
    /// <param name="services">Where to register.</param>
    /// <param name="options">Says what the machine boots, and how large it is; called once, when the application starts.</param>
    /// <param name="configure">Configures the host of the devices.</param>
    /// <returns>Names the devices.</returns>
    /// <exception cref="InvalidOperationException">A device host is registered already.</exception>
    public static DeviceHostBuilder AddKvmMachine(
        this IServiceCollection services, Func<IServiceProvider, KvmMachineOptions> options, Action<DeviceHostOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        DeviceHostBuilder builder = services.AddDeviceHost(configure).OnBoard(provider => new KvmBoard(options(provider)));
        services.AddSingleton(provider => new KvmMachine(provider.GetRequiredService<DeviceHost>()));
        services.AddHostedService<KvmMachineLifetime>();
        return builder;
    }

    /// <summary>Makes the host when the application starts and brings it to rest when it stops; the container disposes it.</summary>
    private sealed class DeviceHostLifetime(IServiceProvider provider) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            provider.GetRequiredService<DeviceHost>();
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) =>
            provider.GetRequiredService<DeviceHost>().StopAsync().WaitAsync(cancellationToken);
    }

    /// <summary>Runs the machine on a thread of its own while the application runs.</summary>
    private sealed class KvmMachineLifetime(IServiceProvider provider, IHostApplicationLifetime application) : IHostedService, IDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private Task _run = Task.CompletedTask;

        public Task StartAsync(CancellationToken cancellationToken)
        {
            KvmMachine machine = provider.GetRequiredService<KvmMachine>();
            _run = Task.Factory.StartNew(
                () => Run(machine), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken)
        {
            _stop.Cancel();
            return _run.WaitAsync(cancellationToken);
        }

        public void Dispose() => _stop.Dispose();

        private void Run(KvmMachine machine)
        {
            try
            {
                MachineResult result = machine.Run(_stop.Token);
                machine.Host.Logging.CreateLogger<KvmMachine>().LogInformation("the machine ended: {Message}", result.Message);
            }
            finally
            {
                application.StopApplication();
            }
        }
    }
}
