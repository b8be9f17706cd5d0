using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Vmm.Devices;

/// <summary>Registration of a <see cref="DeviceHost"/> with Microsoft.Extensions.DependencyInjection.</summary>
public static class DeviceHostServiceCollectionExtensions
{
    /// <summary>
    /// Registers a device host that lives as long as the application: made when it starts, brought to rest when it stops. What is wrong with
    /// its options, or with those of its devices, is told at the start, each in a sentence, by an <see cref="OptionsValidationException"/>.
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
        services.AddSingleton(provider => Make(provider, plan));
        services.AddHostedService<DeviceHostLifetime>();
        return new DeviceHostBuilder(services, plan);
    }

    private static DeviceHost Make(IServiceProvider provider, DeviceHostPlan plan)
    {
        DeviceHost host = new(provider.GetRequiredService<IOptions<DeviceHostOptions>>().Value);
        try
        {
            foreach (Action<IServiceProvider, DeviceHost> step in plan.Steps) step(provider, host);
            return host;
        }
        catch
        {
            host.Dispose();
            throw;
        }
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
}
