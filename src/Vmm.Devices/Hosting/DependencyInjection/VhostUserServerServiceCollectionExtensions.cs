using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Vmm.Devices.VhostUser;

namespace Vmm.Devices;

/// <summary>Registration of a <see cref="VhostUserServer"/> with Microsoft.Extensions.DependencyInjection.</summary>
public static class VhostUserServerServiceCollectionExtensions
{
    /// <summary>
    /// Registers a vhost-user server that lives as long as the application: its devices are opened and its sockets listen when it starts,
    /// and end when it stops. What is wrong with its options, or with those of its devices, is reported at the start, each in a sentence,
    /// by an <see cref="OptionsValidationException"/>. When the server fails, the application stops.
    /// </summary>
    /// <param name="services">Where to register.</param>
    /// <param name="configure">Configures the server itself.</param>
    /// <returns>Names the devices.</returns>
    /// <exception cref="InvalidOperationException">A server is registered already.</exception>
    public static VhostUserServerBuilder AddVhostUserServer(
        this IServiceCollection services, Action<VhostUserServerOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        if (services.Any(service => service.ServiceType == typeof(VhostUserServer)))
            throw new InvalidOperationException(
                "a vhost-user server is registered already: an application has one, with any number of devices");
        VhostUserServerPlan plan = new();
        services.AddSingleton(plan);
        services.AddSingleton<IValidateOptions<VhostUserServerOptions>, VhostUserServerValidation>();
        services.AddOptions<VhostUserServerOptions>()
            .Configure<IServiceProvider>((options, provider) =>
            {
                if (provider.GetService<ILoggerFactory>() is { } logging) options.Logger = logging.CreateLogger<VhostUserServer>();
            })
            .Configure(configure ?? (_ => { }))
            .ValidateOnStart();
        services.AddSingleton(provider => DeviceSteps.Take(
            plan.Steps, provider, new VhostUserServer(provider.GetRequiredService<IOptions<VhostUserServerOptions>>().Value)));
        services.AddHostedService<Lifetime>();
        return new VhostUserServerBuilder(services, plan);
    }

    /// <summary>Starts the server with the application and ends it with it.</summary>
    private sealed class Lifetime(IServiceProvider provider, IHostApplicationLifetime application) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            VhostUserServer server = provider.GetRequiredService<VhostUserServer>();
            server.Start();
            server.Failed.ContinueWith(_ => application.StopApplication(), CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted,
                TaskScheduler.Default);
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) =>
            Task.Run(provider.GetRequiredService<VhostUserServer>().Dispose, CancellationToken.None).WaitAsync(cancellationToken);
    }
}
