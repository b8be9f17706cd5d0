using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Spectre.Console;
using Spectre.Console.Rendering;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// The live table. What is typed and what is read arrives in one queue, from two threads that may wait for ever; what shows it never waits
/// for either, and so always ends.
/// </summary>
[SuppressMessage("Reliability", "CA1001", Justification = "Threads that may wait for ever use them to the end of the process.")]
internal sealed class TopScreen(TopReader reader, TimeSpan every)
{
    private const int KeysPerRead = 64;

    /// <summary>Rows of the screen that are no device: title, border and head of the table, keys.</summary>
    private const int OtherRows = 7;

    private readonly BlockingCollection<Happening> _happenings = [];
    private readonly ManualResetEventSlim _sooner = new();
    private readonly TopModel _model = new();
    private volatile bool _inside;
    private string? _selected;
    private TopOrder _order;
    private int _line;

    /// <summary>Shows it until the operator or a signal ends it.</summary>
    /// <exception cref="IOException">The other process is gone.</exception>
    internal void Run()
    {
        using RawTerminal? terminal = RawTerminal.TryEnter(StandardStreams.Input);
        using Signals signals = new Signals().On(_ => _happenings.Add(new Happening(Key: TopKey.Quit)), Signals.Ending);
        Take(reader.Read(inspect: false));
        new Thread(ReadKeys) { Name = "keys", IsBackground = true }.Start();
        new Thread(ReadDevices) { Name = "readings", IsBackground = true }.Start();
        IOException? failed = null;
        AnsiConsole.AlternateScreen(() => AnsiConsole.Live(Picture()).AutoClear(true).Overflow(VerticalOverflow.Crop).Start(live =>
        {
            while (true)
            {
                live.UpdateTarget(Picture());
                Happening next = _happenings.Take();
                failed = next.Failed;
                if (failed is not null || next.Key == TopKey.Quit) return;
                if (next.Reading is { } reading) Take(reading);
                if (next.Key is { } key) Take(key);
            }
        }));
        if (failed is not null) throw failed;
    }

    private void ReadKeys()
    {
        // Not the runtime's console: on a terminal that reads whole lines, and changes its mode.
        using SafeFileHandle standard = new(StandardStreams.Input, ownsHandle: false);
        using FileStream input = new(standard, FileAccess.Read, bufferSize: 0);
        byte[] keys = new byte[KeysPerRead];
        try
        {
            for (int count; (count = input.Read(keys)) > 0;)
            {
                foreach (TopKey key in TopKeys.Read(keys[..count])) _happenings.Add(new Happening(Key: key));
            }
        }
        catch (IOException)
        {
            // The terminal is gone.
        }
        _happenings.Add(new Happening(Key: TopKey.Quit));
    }

    private void ReadDevices()
    {
        try
        {
            while (true)
            {
                _sooner.Wait(every);
                _sooner.Reset();
                _happenings.Add(new Happening(Reading: reader.Read(_inside)));
            }
        }
        catch (Exception gone) when (gone is IOException or ObjectDisposedException or OperationCanceledException or JsonException)
        {
            _happenings.Add(new Happening(Failed: new IOException("the other vmm has ended, or its API is closed", gone)));
        }
    }

    private void Take(TopReading reading)
    {
        _model.Take(reading);
        if (_model.Find(_selected) is not null) return;
        _selected = _model.Sorted(_order) is [var first, ..] ? first.View.Name : null;
        _inside = false;
    }

    private void Take(TopKey key)
    {
        switch (key)
        {
            case TopKey.Sort:
                _order = (TopOrder)(((int)_order + 1) % Enum.GetValues<TopOrder>().Length);
                break;
            case TopKey.Inside:
                (_inside, _line) = (_selected is not null, 0);
                _sooner.Set();
                break;
            case TopKey.Back:
                _inside = false;
                break;
            case TopKey.Up or TopKey.Down:
                int step = key == TopKey.Up ? -1 : 1;
                if (_inside) _line = Math.Max(_line + step, 0);
                else Move(step);
                break;
        }
    }

    private void Move(int step)
    {
        IReadOnlyList<TopDevice> devices = _model.Sorted(_order);
        if (devices.Count == 0) return;
        int at = devices.ToList().FindIndex(device => device.View.Name == _selected);
        _selected = devices[Math.Clamp(at + step, 0, devices.Count - 1)].View.Name;
    }

    private Rows Picture()
    {
        int rows = Math.Max(RawTerminal.SizeOf(StandardStreams.Output).Rows - OtherRows, 1);
        MachineView machine = _model.Reading!.Machine;
        Text title = new($"vmm {machine.Kind}, process {machine.Process}, {machine.State}, {machine.Devices} devices",
            new Style(decoration: Decoration.Bold));
        if (_inside && _model.Find(_selected) is { } device) return Inside(title, device, rows);
        return new Rows(title, TopTable.Of(_model, _order, _selected, rows),
            new Text($"q ends, ↑ ↓ select, Enter looks inside, s sorts: now by {_order.ToString().ToLowerInvariant()}",
                new Style(Color.Grey)));
    }

    private Rows Inside(Text title, TopDevice device, int rows)
    {
        IReadOnlyList<string> lines = TopTable.Inside(device, _model.Reading!.Inspected);
        _line = Math.Clamp(_line, 0, Math.Max(lines.Count - rows, 0));
        return new Rows(
        [
            title, new Text(Printable.Of($"{device.View.Name} {device.View.Type}  {TopTable.Sparkline(device.Latency)}")), Text.Empty,
            .. lines.Skip(_line).Take(rows).Select(IRenderable (line) => new Text(line) { Overflow = Overflow.Ellipsis }),
            new Text("q ends, Esc goes back, ↑ ↓ scroll", new Style(Color.Grey)),
        ]);
    }

    /// <summary>What the loop waits for: a key, a reading, or that there are no more readings.</summary>
    private sealed record Happening(TopKey? Key = null, TopReading? Reading = null, IOException? Failed = null);
}
