using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.Sandbox;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The devices of <c>vmm serve</c>, which come and go while it runs. Their guests belong to other processes.</summary>
internal sealed class ServedDevices(VhostUserServer server, ILogger log, Action stop, SandboxPlan? sandbox)
    : ControlledMachine("serve", stop, sandbox)
{
    private const string NoMachine = "this process serves devices, and their machines are run by other processes: pause them there";

    /// <summary>One is added at a time, so that each finds a free name.</summary>
    private readonly Lock _adding = new();

    private volatile bool _isDraining;

    internal override IReadOnlyList<ControlledDevice> Devices => [.. server.Backends.Select(Of)];

    internal override IReadOnlyList<RemoteEndpoint> Reactors => server.Reactors;

    internal override void Pause() => throw new NotSupportedException(NoMachine);

    internal override void Resume() => throw new NotSupportedException(NoMachine);

    internal override ControlledDevice Add(NewDevice asked)
    {
        if (IsolatedDevice.IsOne) throw new NotSupportedException(
            "this process serves one device and no other (--isolate): start another 'vmm serve', or one without --isolate");
        DeviceKind kind = KindOf(asked);
        DeviceOption option = new(kind, isServed: true);
        lock (_adding)
        {
            RequestedDevice device = Describe(asked.Options, number => DeviceOption.ServedNameOf(kind, number), option.Serve);
            if (device.Socket is not { Descriptor: null } socket)
                throw new ArgumentException($"'{device.Socket}': a descriptor is passed at the start only: give 'socket=…'");
            VhostUserBackend backend;
            try
            {
                backend = server.Add(device.Name, device.Spec, socket.Path, socket.Access);
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                throw Refusal(refused);
            }
            catch (InvalidOperationException refused) when (refused is not ObjectDisposedException)
            {
                throw new ApiProblem(409, refused.Message);
            }
            log.LogInformation(ToolEvents.DeviceAdded, "{Device}: added, listens at {Socket}", device.Name, socket.Path);
            return Of(backend);
        }
    }

    internal override async Task RemoveAsync(ControlledDevice device)
    {
        Task removal;
        try
        {
            removal = server.RemoveAsync(device.Backend!);
        }
        catch (ArgumentException)
        {
            throw new ApiProblem(404, $"device '{device.Device.Name}' is being removed already");
        }
        await removal.ConfigureAwait(false);
        log.LogInformation(ToolEvents.DeviceRemoved, "{Device}: removed", device.Device.Name);
    }

    private protected override bool IsDraining => _isDraining;

    internal override Task DrainAsync()
    {
        _isDraining = true;
        log.LogInformation(ToolEvents.Draining,
            "no front-end is taken any more: this process ends when those that are connected have left");
        return server.DrainAsync();
    }

    private static ControlledDevice Of(VhostUserBackend backend) => new(backend.Device, backend.Remote, backend, backend);
}
