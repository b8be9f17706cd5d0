using Microsoft.Extensions.Logging;
using Vmm.Events;

namespace Vmm.Devices;

// A machine connects, runs and goes; then the devices come to rest, the reactors end, and what they held is closed: in this order.
public sealed partial class DeviceHost
{
    private readonly Lock _stopLock = new();
    private Task? _stopped;
    private IIoEventFds? _kicks;
    private volatile List<ReactorStatistics>? _lastReactorStatistics;
    private bool _connected;
    private bool _released;

    /// <summary>Leads the interrupt lines to a machine, and its kicks to the queues. Once, before its vCPUs run and after the last device was added.</summary>
    /// <param name="lines">The machine's line of a number.</param>
    /// <param name="kicks">Turns a vCPU's kick into a signal with no exit to the bus; null if the machine can't: the bus does it too.</param>
    /// <exception cref="InvalidOperationException">A machine is connected already.</exception>
    public void Connect(Func<int, IInterrupt> lines, IIoEventFds? kicks = null)
    {
        ArgumentNullException.ThrowIfNull(lines);
        ThrowIfSettled();
        _connected = true;
        foreach (InterruptLine line in Lines) line.ConnectTo(lines(line.Number));
        _kicks = kicks;
        ForEachKick((fds, address, queue, kick) => fds.Add(address, sizeof(uint), queue, kick));
    }

    /// <summary>
    /// Brings the devices to rest: what is in flight completes, what the guest printed is written, then the reactors end. The vCPUs must have
    /// stopped before. Devices that do not come to rest in time are named in the log.
    /// </summary>
    public Task StopAsync()
    {
        lock (_stopLock) return _stopped ??= Task.Run(Stop);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        Release();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        StopAsync().GetAwaiter().GetResult();
        Release();
    }

    private IEnumerable<InterruptLine> Lines => _devices.Select(hosted => hosted.Line).Concat(_serials.Select(serial => serial.Line));

    private void Stop()
    {
        (HostedDevice Hosted, Task Quiet)[] resting = [.. _devices.Select(hosted => (hosted, hosted.Transport.StopAsync()))];
        if (!Task.WaitAll([.. resting.Select(device => device.Quiet)], _options.StopTimeout))
        {
            foreach ((HostedDevice hosted, _) in resting.Where(device => !device.Quiet.IsCompleted))
                _logger.LogError("{Device} still has requests in flight after {Seconds} s: it is left behind", hosted.Device.Name, _options.StopTimeout.TotalSeconds);
        }
        foreach (HostedSerial serial in _serials)
        {
            if (!serial.Backend.WaitForOutput(_options.StopTimeout))
                _logger.LogError("{Serial}: nobody takes what the guest printed last", serial.Port.Name);
            serial.Reactor.Invoke(reactor =>
            {
                serial.Backend.RemoveFrom(reactor);
                serial.Backend.Dispose();
            });
        }
        _lastReactorStatistics = ReadReactorStatistics();
        foreach (ReactorThread reactor in _reactors) reactor.Dispose();
    }

    private void Release()
    {
        if (_released) return;
        _released = true;
        ForEachKick((fds, address, queue, _) => fds.Remove(address, sizeof(uint), queue));
        foreach (InterruptLine line in Lines) line.ConnectTo(null);
        foreach (HostedDevice hosted in _devices)
        {
            hosted.Transport.Dispose();
            hosted.Device.Dispose();
        }
        if (_ownsMemory) Memory.Dispose();
    }

    private void ForEachKick(Action<IIoEventFds, ulong, ulong, EventFd> action)
    {
        if (_kicks is not { } kicks) return;
        foreach (HostedDevice hosted in _devices)
        {
            for (int queue = 0; queue < hosted.Device.Queues.Count; queue++)
                action(kicks, hosted.Address + MmioRegister.QueueNotify, (ulong)queue, hosted.Transport.KickOf(queue));
        }
    }

    private void ThrowIfSettled()
    {
        ObjectDisposedException.ThrowIf(_stopped is not null, this);
        if (_connected) throw new InvalidOperationException("a machine is connected to this host: what it has was settled then");
    }
}
