using Microsoft.Extensions.Logging;
using Vmm.Devices;
using Vmm.Devices.VhostUser;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The devices of <c>vmm serve</c>, which come and go while it runs. Their guests belong to other processes.</summary>
internal sealed class ServedDevices(VhostUserServer server, ILogger log, Action stop, bool isLocked) : ControlledMachine("serve", stop)
{
    private const string Locked = " (in its sandbox this server opens less than at its start: with --sandbox=off it opens anything)";

    private const string NoMachine = "this process serves devices, and their machines are run by other processes: pause them there";

    /// <summary>One is added at a time, so that each finds a free name.</summary>
    private readonly Lock _adding = new();

    internal override IReadOnlyList<ControlledDevice> Devices => [.. server.Backends.Select(Of)];

    internal override IReadOnlyList<RemoteEndpoint> Reactors => server.Reactors;

    internal override void Pause() => throw new NotSupportedException(NoMachine);

    internal override void Resume() => throw new NotSupportedException(NoMachine);

    internal override ControlledDevice Add(NewDevice asked)
    {
        DeviceKind kind = DeviceKinds.All.FirstOrDefault(kind => kind.Name == asked.Kind || kind.ServedName == asked.Kind)
            ?? throw new ArgumentException($"'{asked.Kind}' is no kind of device: give one of "
                + string.Join(", ", DeviceKinds.All.Select(kind => kind.ServedName ?? kind.Name)));
        List<string> refusals = [];
        lock (_adding)
        {
            HashSet<string> taken = [.. server.Backends.Select(backend => backend.Device.Name)];
            int number = 0;
            while (taken.Contains(DeviceOption.ServedNameOf(kind, number))) number++;
            RequestedDevice? device = new DeviceOption(kind, isServed: true).Serve(asked.Options, number, refusals.Add);
            if (device is null || refusals.Count > 0) throw new ArgumentException(string.Join("; ", refusals));
            if (device.Socket is not { Descriptor: null } socket)
                throw new ArgumentException($"'{device.Socket}': a descriptor is passed at the start only: give 'socket=…'");
            VhostUserBackend backend;
            try
            {
                backend = server.Add(device.Name, device.Spec, socket.Path, socket.Access);
            }
            catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
            {
                // What the client named is not there, or is in use.
                throw new ArgumentException(refused.Message + (isLocked ? Locked : ""), refused);
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

    private static ControlledDevice Of(VhostUserBackend backend) => new(backend.Device, backend.Remote, backend, backend);
}
