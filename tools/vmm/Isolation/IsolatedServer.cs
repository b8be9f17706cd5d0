using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>What a process for one device does.</summary>
/// <param name="Name">The device's name.</param>
/// <param name="Words">Its command line.</param>
/// <param name="Socket">Where it listens; null for a descriptor that is there.</param>
internal sealed record IsolatedCommand(string Name, string[] Words, string? Socket);

/// <summary>
/// <c>vmm serve --isolate</c>: a process for each device, so that a hole in one is no hole in another's guest. This one reads no byte of a
/// guest or of a front-end: it starts them, starts again what ended, and passes on what it is asked to do.
/// </summary>
internal static class IsolatedServer
{
    private const double MiB = 1 << 20;

    /// <summary>Serves until it is asked to end.</summary>
    /// <param name="commands">The command line of each device's process, by the device's name.</param>
    /// <returns>The exit code.</returns>
    internal static int Serve(IReadOnlyList<IsolatedCommand> commands)
    {
        List<IsolatedDevice> devices = [];
        using (PassedSockets passed = PassedSockets.Take())
        {
            foreach (IsolatedCommand command in commands)
            {
                OwnedFd? socket = command.Socket is { } path ? passed.TakeAt(path) : null;
                if (socket is not null) ProcessDescriptors.SetInherited(socket.Number, false);
                devices.Add(new IsolatedDevice(command.Name, command.Words, socket));
            }
            passed.CheckAllTaken();
        }
        using ExitDeadline deadline = new();
        using Signals signals = new Signals()
            .On(_ => Stop(), PosixSignal.SIGTERM, PosixSignal.SIGINT)
            .On(_ => StandardError.Say(LogLevel.Warning, ServeCommand.ReloadChangesNothing), PosixSignal.SIGHUP)
            .On(_ => devices.ForEach(device => device.PrintStatistics()), Signals.User1)
            .On(_ => { }, Signals.User2);
        Task<int>[] ends = [.. devices.Select(device => Task.Run(device.RunAsync))];
        try
        {
            Task.WhenAll(devices.Select(device => device.Listens)).GetAwaiter().GetResult();
            StandardError.Say(LogLevel.Information, Cost(devices));
            ServiceNotification.Ready();
        }
        catch (IOException)
        {
            // What it could not do it has said.
            devices.ForEach(device => device.Stop());
        }
        using (new ServiceWatchdog(_ => true)) Task.WaitAll(ends);
        ServiceNotification.Stopping();
        devices.ForEach(device => device.Dispose());
        return ends.Max(end => end.Result);

        void Stop()
        {
            deadline.Start();
            devices.ForEach(device => device.Stop());
        }
    }

    /// <summary>Why devices cannot have processes of their own; null if they can.</summary>
    internal static string? WhyNot() =>
        AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") is not null
            ? "only the published file can start itself (tools/publish.sh makes it)"
        : null;

    /// <summary>What a process for each device costs.</summary>
    private static string Cost(List<IsolatedDevice> devices)
    {
        double[] own = [.. devices.Select(device => device.OwnMemoryBytes / MiB)];
        return string.Create(CultureInfo.InvariantCulture,
            $"{own.Length} {(own.Length == 1 ? "process serves" : "processes serve")} a device each: {own.Sum():0.0} MiB of memory of "
            + $"their own, {own.Max():0.0} at most, and {IsolatedDevice.OwnMemoryOf(Environment.ProcessId) / MiB:0.0} of this one");
    }
}
