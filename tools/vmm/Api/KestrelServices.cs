using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace Vmm.Tool;

/// <summary>
/// What Kestrel asks a host for where it makes TLS, without a host: it registers that with a builder, which keeps nothing else.
/// </summary>
internal sealed class KestrelServices : IWebHostBuilder
{
    private readonly ServiceCollection _services = [];

    private KestrelServices()
    {
    }

    internal static ServiceProvider Make()
    {
        KestrelServices builder = new();
        builder._services.AddLogging().AddMetrics();
        builder.UseKestrelCore();
        return builder._services.BuildServiceProvider();
    }

    public IWebHostBuilder ConfigureServices(Action<IServiceCollection> configureServices)
    {
        configureServices(_services);
        return this;
    }

    public IWebHostBuilder ConfigureServices(Action<WebHostBuilderContext, IServiceCollection> configureServices)
    {
        configureServices(new WebHostBuilderContext(), _services);
        return this;
    }

    public IWebHostBuilder ConfigureAppConfiguration(Action<WebHostBuilderContext, IConfigurationBuilder> configureDelegate) => this;

    public IWebHostBuilder UseSetting(string key, string? value) => this;

    public string? GetSetting(string key) => null;

    // The interface has it still.
#pragma warning disable ASPDEPR008
    public IWebHost Build() => throw new NotSupportedException("this makes services, not a host");
#pragma warning restore ASPDEPR008
}
