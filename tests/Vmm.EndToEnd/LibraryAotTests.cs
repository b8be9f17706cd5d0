
namespace Vmm.EndToEnd;

/// <summary>The two libraries in a program of their users, published as one native file.</summary>
public sealed class LibraryAotTests
{
    /// <summary>
    /// A reactor with a handler that the generator subscribes, and an application whose container makes a host and its devices.
    /// </summary>
    private const string Program = """
        using Microsoft.Extensions.DependencyInjection;
        using Microsoft.Extensions.Hosting;
        using Vmm.Devices;
        using Vmm.Devices.Simulation;
        using Vmm.Events;

        [assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

        using (Reactor reactor = new())
        {
            EventFd kick = new();
            Counter counter = new();
            counter.Start(reactor, kick);
            kick.Signal();
            reactor.RunOnce(TimeSpan.FromSeconds(30));
            Console.WriteLine($"kicks {counter.Kicks}");
        }

        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddDeviceHost(host => host.Reactors = 2)
            .AddVirtioBlock("vda", disk => disk.Path = args[0])
            .AddVirtioEntropy("rng0")
            .AddSerial("ttyS0", serial =>
            {
                serial.Script = "fill vda 7; verify vda 7; rng 16; poweroff\n"u8.ToArray();
                serial.Output = SerialOutput.To(Console.OpenStandardOutput());
            });
        using IHost application = builder.Build();
        await application.StartAsync();
        using (SimulatedMachine machine = new(application.Services.GetRequiredService<DeviceHost>()))
            Console.WriteLine($"succeeded {machine.Run(CancellationToken.None).Succeeded}");
        await application.StopAsync();

        internal sealed partial class Counter() : Subscriber("counter")
        {
            public int Kicks { get; private set; }

            [OnEvent]
            public void Kicked() => Kicks++;

            public void Start(IReactor reactor, EventFd kick) => SubscribeKicked(kick, Interest.Kick).RegisterInto(reactor);
        }
        """;

    [Fact]
    public void A_program_on_both_libraries_is_published_without_a_warning_and_runs()
    {
        using ScratchDirectory scratch = new();
        File.WriteAllText(scratch.PathOf("Program.cs"), Program);
        string program = OutsideProject.Publish(scratch.Path, "program",
            "<TreatWarningsAsErrors>true</TreatWarningsAsErrors><TrimmerSingleWarn>false</TrimmerSingleWarn>");

        string output = Shell.Run("env", "-i", program, scratch.CreateImage("disk.img", 1 << 20));
        Assert.Contains("kicks 1", output);
        Assert.Contains("verify vda 7 ok", output);
        Assert.Contains("succeeded True", output);
        Assert.False(File.Exists(scratch.PathOf("out/Vmm.Events.dll")));
    }
}
